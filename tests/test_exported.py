"""Every bundle under exported/: whole, small, and still giving the scores that it was sealed with."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import KERMANY, ROOT, call_cli, needs_kermany
from toolkit.core.bundle import MANIFEST, Bundle
from toolkit.core.codec import read_json
from toolkit.core.files import folder_bytes
from toolkit.core.reports import RunReport
from toolkit.data.films import Films, prepare_films
from toolkit.data.sources import read_source
from toolkit.data.splits import labelled_films
from toolkit.infer.machine import why_not
from toolkit.validate.evaluate import artifact_logits, judge
from toolkit.validate.scores import read_scores

BUNDLES = sorted(path.parent for path in (ROOT / "exported").glob(f"*/{MANIFEST}"))
MAX_BYTES = 15_000_000
# What another processor's arithmetic may change: a film of 234 or two, in int8 three.
METRIC_TOLERANCE, INT8_METRIC_TOLERANCE = 0.009, 0.013

each_bundle = pytest.mark.parametrize("folder", BUNDLES, ids=lambda path: path.name)


@pytest.fixture(scope="module")
def test_films() -> Films:
    source = read_source(KERMANY)
    return prepare_films(source, labelled_films(source), Bundle(BUNDLES[0]).manifest.preprocessing, "read")


@each_bundle
def test_it_is_whole_small_and_recommends_something(folder: Path) -> None:
    bundle = Bundle(folder)
    bundle.verify()
    assert folder_bytes(folder) <= MAX_BYTES
    assert all(bundle.artifact(name).passed for name in bundle.manifest.recommended)
    assert bundle.manifest.recommended
    assert bundle.manifest.attribution


@each_bundle
def test_every_file_in_it_is_sealed(folder: Path) -> None:
    named = {file.path for file in Bundle(folder).manifest.all_files()} | {MANIFEST}
    assert {path.name for path in folder.iterdir()} - named <= {"report.html", "report.json"}


@needs_kermany
@each_bundle
def test_official_test_films_give_the_sealed_metrics(folder: Path, test_films: Films) -> None:
    bundle = Bundle(folder)
    for artifact in [one for one in bundle.manifest.artifacts if why_not(one.target) is None]:
        found = judge(artifact.name, test_films, artifact_logits(bundle, artifact, test_films.images), artifact.operating, synthetic=False)
        assert artifact.metrics is not None
        limit = INT8_METRIC_TOLERANCE if artifact.target.is_int8 else METRIC_TOLERANCE
        for name in ("accuracy", "recall", "specificity", "roc_auc"):
            assert getattr(found, name) == pytest.approx(getattr(artifact.metrics, name), abs=limit), f"{artifact.name} {name}"


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
    assert chosen.name == next(name for name in bundle.manifest.recommended if why_not(bundle.artifact(name).target) is None)
    right = sum(row["decision"] == Path(row["path"]).parent.name for row in rows)
    assert chosen.metrics is not None
    assert right / 624 == pytest.approx(chosen.metrics.accuracy, abs=METRIC_TOLERANCE)


@each_bundle
def test_the_report_beside_it_is_of_this_bundle(folder: Path) -> None:
    bundle = Bundle(folder)
    assert bundle.sha256 in (folder / "report.html").read_text(encoding="utf-8")
    report = read_json(folder / "report.json", RunReport)
    assert report.bundle_sha256 == bundle.sha256
    assert report.evaluations == tuple(artifact.metrics for artifact in bundle.manifest.artifacts)
