"""The regression tests can fail: changes planted into answers, into a bundle, and into the preparation of films."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.conftest import INT8, ROOT
from tests.regression import make
from tests.regression.record import (
    LIMITS,
    PHANTOMS,
    Limit,
    Point,
    answers,
    changed_head,
    changed_scores,
    film_set,
    limit_of,
    point_of,
    read,
)
from toolkit.core.bundle import Bundle, write_manifest
from toolkit.core.operating import OperatingPoint
from toolkit.data.phantom import write_phantoms
from toolkit.imaging import prepare as preparation
from toolkit.infer.machine import features

NAMES = {"a": "test/NORMAL/a.jpeg", "b": "test/PNEUMONIA/b.jpeg", "c": "test/PNEUMONIA/c.jpeg"}
BEFORE = {"a": -2.0, "b": 0.30, "c": 3.0}
LIMIT = Limit(mean=0.05, largest=0.1, decisions=0)


def changes(limit: Limit = LIMIT, **now: float) -> list[str]:
    return changed_scores(BEFORE, {**BEFORE, **now}, 0.25, limit, NAMES)


def test_nothing_changed_is_nothing_said() -> None:
    assert changes() == []
    assert changes(a=-2.09) == []


def test_a_score_beyond_its_limit_is_named() -> None:
    assert changes(a=-2.11) == [
        "logits moved by 0.0367 on average and 0.1100 at most, 0.05 and 0.1 are allowed; most in test/NORMAL/a.jpeg"
    ]


def test_many_small_changes_fail_by_their_mean() -> None:
    assert changes(a=-2.07, b=0.36, c=3.06) == [
        "logits moved by 0.0633 on average and 0.0700 at most, 0.05 and 0.1 are allowed; most in test/NORMAL/a.jpeg"
    ]


def test_a_decision_that_turned_is_named_though_the_score_hardly_moved() -> None:
    assert changes(b=0.24) == ["1 decisions turned, 0 are allowed: test/PNEUMONIA/b.jpeg"]
    assert changes(Limit(mean=0.05, largest=0.1, decisions=1), b=0.24) == []


def test_no_number_a_missing_and_an_unknown_film_are_named() -> None:
    assert changes(c=math.nan) == ["no number for test/PNEUMONIA/c.jpeg"]
    now = {"b": 0.3, "c": 3.0, "d": 1.0}
    assert changed_scores(BEFORE, now, 0.25, LIMIT, NAMES) == [
        "1 films were recorded and are missing: test/NORMAL/a.jpeg",
        "1 films were not recorded: d",
    ]


def test_limits_are_wider_on_another_processor() -> None:
    point = Point(operating=OperatingPoint(), features=features())
    elsewhere = Point(operating=OperatingPoint(), features=("another",))
    for precision, kind in LIMITS.arithmetic.items():
        near, far = limit_of(point, precision, "real"), limit_of(elsewhere, precision, "real")
        drawn = limit_of(elsewhere, precision, "phantom")
        assert (near, far, drawn) == (LIMITS.same[kind], LIMITS.other[kind], LIMITS.other_phantom[kind])
        assert near.mean < far.mean <= drawn.mean
        assert near.largest < far.largest <= drawn.largest
        assert near.decisions == 0


def test_a_changed_bundle_says_what_changed(copy_of_run: Path) -> None:
    bundle = Bundle(copy_of_run / "bundle")
    head = make.Head(bundle_sha256=bundle.sha256, artifacts={name: point_of(bundle, name) for name in bundle.names})
    assert changed_head(head, bundle) == []
    first, second, *rest = bundle.manifest.artifacts
    moved = msgspec.structs.replace(first, operating=msgspec.structs.replace(first.operating, threshold=0.5, band=None))
    renamed = msgspec.structs.replace(second, name="openvino-bf16")
    write_manifest(
        bundle.folder, msgspec.structs.replace(bundle.manifest, artifacts=(moved, renamed, *rest), recommended=(), recommended_for={})
    )
    digest, new, threshold, gone = changed_head(head, Bundle(bundle.folder))
    assert digest.startswith("the digest of bundle.json is ")
    assert new == "openvino-bf16 is new"
    assert threshold == f"the threshold of {first.name} is 0.500000 and {first.operating.threshold:.6f} was recorded"
    assert gone == f"{second.name} is gone"


def test_another_resize_filter_moves_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_phantoms(msgspec.structs.replace(PHANTOMS, size_px=400), tmp_path / "films")  # larger than the network's door
    bundle = Bundle(ROOT / "exported" / "szanet")
    name = "onnxruntime-fp32"
    point = bundle.artifact(name).operating
    before = answers(bundle, name, film_set("phantom", tmp_path / "films", bundle))
    monkeypatch.setitem(preparation.FILTERS, bundle.manifest.preprocessing.resample, Image.Resampling.NEAREST)
    films = film_set("phantom", tmp_path / "films", bundle)
    (said,) = changed_scores(before, answers(bundle, name, films), point.logit_threshold(), LIMITS.other["single"], films.names)[:1]
    assert said.startswith("logits moved by ")
    assert "most in test/" in said


def test_recording_again_keeps_what_cannot_run_and_says_what_changed(finished_run: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(finished_run / "bundle", tmp_path / "bundle"))
    (films,) = finished_run.glob("phantoms-*")
    arguments = [str(bundle), "--films", str(films), "--to", str(tmp_path / "record")]
    done = CliRunner().invoke(make.main, arguments)
    assert (done.exit_code, "Changed" in done.output) == (0, False)
    written = (tmp_path / "record" / "scores.csv").read_bytes()
    first = read(tmp_path / "record")
    assert set(first.head.artifacts) == set(Bundle(bundle).names)
    assert {kind: len(scores[INT8]) for kind, scores in first.scores.items()} == {"phantom": 16, "real": 32}
    assert CliRunner().invoke(make.main, arguments).exit_code == 0
    assert (tmp_path / "record" / "scores.csv").read_bytes() == written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "runs_here", lambda _: dict.fromkeys(Bundle(bundle).names, "not on this machine"))
        assert CliRunner().invoke(make.main, arguments).exit_code == 0
        assert (tmp_path / "record" / "scores.csv").read_bytes() == written
        manifest = Bundle(bundle).manifest
        write_manifest(bundle, msgspec.structs.replace(manifest, name="renamed"))
        refused = CliRunner().invoke(make.main, arguments)
    assert refused.exit_code == 1
    assert "cannot be recorded here: not on this machine" in refused.output
    done = CliRunner().invoke(make.main, arguments)
    assert "Changed: the digest of bundle.json is" in done.output
