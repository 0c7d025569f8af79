"""Every bundle under exported/: whole, small, and still giving the scores that it was sealed with."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import KERMANY, ROOT, call_cli, needs_kermany
from tests.regression.record import (
    DRAWN,
    HERE,
    LIMITS,
    FilmSet,
    Record,
    Set,
    answers,
    changed_head,
    changed_scores,
    film_set,
    lay_out,
    limit_of,
    read,
)
from toolkit.core.bundle import MANIFEST, Bundle
from toolkit.core.codec import read_json
from toolkit.core.files import folder_bytes
from toolkit.core.reports import RunReport
from toolkit.data.films import Films, prepare_films
from toolkit.data.sources import read_source
from toolkit.data.splits import labelled_films
from toolkit.infer.machine import family, why_not
from toolkit.validate.evaluate import artifact_logits, judge
from toolkit.validate.scores import read_scores

BUNDLES = sorted(path.parent for path in (ROOT / "exported").glob(f"*/{MANIFEST}"))

each_bundle = pytest.mark.parametrize("folder", BUNDLES, ids=lambda path: path.name)
each_artifact = pytest.mark.parametrize(
    ("folder", "name"), [pytest.param(folder, name, id=f"{folder.name}-{name}") for folder in BUNDLES for name in Bundle(folder).names]
)


def recorded(folder: Path) -> Record:
    place = HERE / folder.name
    assert (place / "record.json").is_file(), f"nothing is recorded of {folder}: python -m tests.regression.make {folder} --films DIR"
    return read(place)


def skip_unless_it_runs(bundle: Bundle, name: str) -> None:
    if reason := why_not(bundle.artifact(name).target):
        pytest.skip(f"{name}: {reason}")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("drawn") / "films")


@pytest.fixture(scope="module")
def test_films() -> Films:
    source = read_source(KERMANY)
    return prepare_films(source, labelled_films(source), Bundle(BUNDLES[0]).manifest.preprocessing, "read")


@each_bundle
def test_it_is_whole_small_and_recommends_something(folder: Path) -> None:
    bundle = Bundle(folder)
    bundle.verify()
    assert folder_bytes(folder) <= LIMITS.max_bytes
    assert all(bundle.artifact(name).passed for name in bundle.manifest.recommended)
    assert bundle.manifest.recommended
    assert bundle.manifest.attribution


@each_bundle
def test_every_file_in_it_is_sealed(folder: Path) -> None:
    named = {file.path for file in Bundle(folder).manifest.all_files()} | {MANIFEST}
    assert {path.name for path in folder.iterdir()} - named <= {"report.html", "report.json"}


@each_bundle
def test_digest_artifacts_thresholds_and_temperatures_are_the_recorded_ones(folder: Path) -> None:
    assert changed_head(recorded(folder).head, Bundle(folder)) == []


def scores_that_changed(folder: Path, name: str, kind: Set, films: FilmSet) -> list[str]:
    bundle, record = Bundle(folder), recorded(folder)
    artifact, before = bundle.artifact(name), record.scores[kind][name]
    limit = limit_of(record.head.artifacts[name], artifact.target.precision, kind)
    return changed_scores(before, answers(bundle, name, films), artifact.operating.logit_threshold(), limit, films.names)


@each_artifact
def test_phantoms_get_the_recorded_scores(folder: Path, name: str, drawn: Path) -> None:
    skip_unless_it_runs(Bundle(folder), name)
    films = film_set("phantom", drawn, Bundle(folder))
    assert len(films.names) == DRAWN
    assert scores_that_changed(folder, name, "phantom", films) == []


@needs_kermany
@each_artifact
def test_official_test_films_get_the_recorded_scores(folder: Path, name: str) -> None:
    skip_unless_it_runs(Bundle(folder), name)
    assert scores_that_changed(folder, name, "real", film_set("real", KERMANY, Bundle(folder))) == []


@needs_kermany
@each_artifact
def test_official_test_films_give_the_sealed_metrics(folder: Path, name: str, test_films: Films) -> None:
    bundle = Bundle(folder)
    skip_unless_it_runs(bundle, name)
    artifact = bundle.artifact(name)
    found = judge(name, test_films, artifact_logits(bundle, artifact, test_films.images), artifact.operating, synthetic=False)
    assert artifact.metrics is not None
    assert found.n == artifact.metrics.n
    limit = LIMITS.metric[LIMITS.arithmetic[artifact.target.precision]]
    for metric in ("accuracy", "recall", "specificity", "roc_auc"):
        assert getattr(found, metric) == pytest.approx(getattr(artifact.metrics, metric), abs=limit), metric


@needs_kermany
@each_bundle
def test_reference_scores_give_the_sealed_metrics_of_the_dense_model(folder: Path, test_films: Films) -> None:
    bundle = Bundle(folder)
    sealed, films, _ = read_scores(bundle, test_films)
    scores = sealed.reference
    reference = bundle.manifest.reference
    assert reference is not None
    assert len(films) == reference.films == 624
    logits = np.log(scores.probability / (1 - scores.probability)) * reference.operating.temperature
    found = judge(reference.metrics.artifact, films, logits.astype(np.float32), reference.operating, synthetic=False)
    assert found.confusion == reference.metrics.confusion
    assert found.roc_auc == pytest.approx(reference.metrics.roc_auc, abs=1e-4)


@needs_kermany
@each_bundle
def test_predict_classifies_all_624(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_cli("predict", folder, KERMANY / "test", "--csv", "-") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    bundle = Bundle(folder)
    chosen = bundle.artifact(rows[0]["artifact"])
    assert len(rows) == 624
    assert chosen.name == bundle.manifest.recommended_for[family()][0]
    right = sum(row["label"] == Path(row["path"]).parent.name for row in rows)
    assert chosen.metrics is not None
    assert right / 624 == pytest.approx(chosen.metrics.accuracy, abs=LIMITS.metric[LIMITS.arithmetic[chosen.target.precision]])


@each_bundle
def test_the_report_beside_it_is_of_this_bundle(folder: Path) -> None:
    bundle = Bundle(folder)
    page = folder / "report.html"  # one that shows films is not kept: they are not ours
    assert not page.exists() or bundle.sha256 in page.read_text(encoding="utf-8")
    report = read_json(folder / "report.json", RunReport)
    assert report.bundle_sha256 == bundle.sha256
    assert report.evaluations == tuple(artifact.metrics for artifact in bundle.manifest.artifacts)
