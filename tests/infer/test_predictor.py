"""Predictions of a bundle whose answers are known by hand."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from tests.conftest import EDGE, make_bundle
from toolkit.core.bundle import Bundle, write_manifest
from toolkit.core.operating import Band, OperatingPoint
from toolkit.errors import BundleError, GateError, InputError
from toolkit.infer import on_onnxruntime
from toolkit.infer.predictor import Predictor, Wanted, choose_artifact, pictures_below


def film(path: Path, level: int) -> Path:
    Image.fromarray(np.full((EDGE, EDGE), level, np.uint8)).save(path)
    return path


def test_probability_label_and_threshold(bundle: Path, tmp_path: Path) -> None:
    films = [film(tmp_path / f"{level}.png", level) for level in (118, 138)]
    dark, bright = Predictor(Bundle(bundle)).predict(films)
    assert (dark.decision, bright.decision) == ("NORMAL", "PNEUMONIA")
    assert bright.probability == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-6)
    assert dark.probability == pytest.approx(1 / (1 + math.exp(1)), abs=1e-6)
    assert bright.artifact == "onnxruntime-fp32"
    assert bright.path == str(films[1])
    assert bright.error is None


def test_the_artifacts_own_threshold_decides(tmp_path: Path) -> None:
    strict = make_bundle(tmp_path / "strict", threshold=0.8)
    (found,) = Predictor(Bundle(strict)).predict([film(tmp_path / "a.png", 138)])
    assert (found.decision, found.threshold) == ("NORMAL", 0.8)


def test_an_unusable_file_is_named_and_the_rest_goes_on(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpeg").write_bytes(b"\xff\xd8\xff")
    broken, missing, good = Predictor(Bundle(bundle)).predict(
        [tmp_path / "broken.jpeg", tmp_path / "none.png", film(tmp_path / "good.png", 200)]
    )
    assert (broken.decision, broken.label, broken.probability) == ("REJECTED", None, None)
    assert missing.error == "cannot be opened: No such file or directory"
    assert good.decision == "PNEUMONIA"


def test_a_changed_model_is_never_loaded(bundle: Path) -> None:
    file = bundle / "fp32.onnx"
    raw = bytearray(file.read_bytes())
    raw[100] ^= 1
    file.write_bytes(raw)
    with pytest.raises(BundleError, match=r"fp32\.onnx was changed"):
        Predictor(Bundle(bundle))


def test_an_artifact_that_failed_its_gate_is_not_picked(tmp_path: Path) -> None:
    failed = Bundle(make_bundle(tmp_path / "failed", verdict="fail"))
    with pytest.raises(GateError, match="name one with --artifact"):
        choose_artifact(failed)
    assert choose_artifact(failed, "onnxruntime-fp32").name == "onnxruntime-fp32"


def test_an_unknown_artifact_lists_those_there_are(bundle: Path) -> None:
    with pytest.raises(InputError, match="has no artifact 'best'; it has: onnxruntime-fp32"):
        choose_artifact(Bundle(bundle), "best")


def test_no_runtime_here_says_which_is_needed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_onnxruntime, "is_available", lambda: False)
    with pytest.raises(GateError, match="onnxruntime-fp32: onnxruntime is not installed: pip install"):
        choose_artifact(Bundle(bundle))


def test_the_fastest_artifact_that_can_run_is_picked(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle(finished_run / "bundle")
    assert choose_artifact(bundle).name == bundle.manifest.recommended[0]
    monkeypatch.setattr("toolkit.infer.on_openvino.is_available", lambda: False)
    chosen = choose_artifact(bundle)
    assert chosen.name == next(name for name in bundle.manifest.recommended if name.startswith("onnxruntime"))


def test_pictures_below_a_folder_come_by_name(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    wanted = [film(tmp_path / "a.png", 1), film(tmp_path / "deep" / "b.JPG", 1), film(tmp_path / "z.bmp", 1)]
    (tmp_path / "notes.txt").write_text("no film")
    assert list(pictures_below(tmp_path)) == wanted
    assert list(pictures_below(tmp_path / "gone")) == [tmp_path / "gone"]


def test_dicom_files_named_as_archives_name_them_are_found_by_their_magic(tmp_path: Path) -> None:
    head = bytes(128) + b"DICM"
    for name in ("IM000001", "1.2.840.113619.2"):
        (tmp_path / name).write_bytes(head)
    for name, content in {"DICOMDIR": head, "README": b"no film", "notes.txt": head, "9": head[:131]}.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "PIPE")
    (tmp_path / "LOCKED").symlink_to(tmp_path / "nowhere")
    assert [path.name for path in pictures_below(tmp_path)] == ["1.2.840.113619.2", "IM000001"]


def test_inside_its_band_a_film_is_uncertain_and_keeps_label_and_probability(bundle: Path, tmp_path: Path) -> None:
    manifest = Bundle(bundle).manifest
    band = Band(low=0.4, high=0.7, missed=0.01, false_alarms=0.01, unsure=0.1, films=100)
    point = OperatingPoint(threshold=0.5, band=band)
    artifacts = tuple(msgspec.structs.replace(artifact, operating=point) for artifact in manifest.artifacts)
    write_manifest(bundle, msgspec.structs.replace(manifest, artifacts=artifacts))
    levels = (118, 127, 129, 138)  # the logit is a tenth of the level above 128
    found = list(Predictor(Bundle(bundle)).predict([film(tmp_path / f"{level}.png", level) for level in levels]))
    assert [one.decision for one in found] == ["NORMAL", "UNCERTAIN", "UNCERTAIN", "PNEUMONIA"]
    assert [one.label for one in found] == ["NORMAL", "NORMAL", "PNEUMONIA", "PNEUMONIA"]
    assert all(one.bundle_sha256 == Bundle(bundle).sha256 for one in found)


@pytest.mark.parametrize("workers", [2, None])
def test_decoding_ahead_changes_no_answer(bundle: Path, tmp_path: Path, workers: int | None) -> None:
    paths = [film(tmp_path / f"{level}.png", level) for level in range(100, 156, 2)]
    (tmp_path / "broken.png").write_bytes(b"no film")
    paths.insert(9, tmp_path / "broken.png")
    predictor = Predictor(Bundle(bundle))
    one_by_one, ahead = ([msgspec.structs.replace(found, ms=0) for found in predictor.predict(paths, count)] for count in (1, workers))
    assert one_by_one == ahead


def test_bytes_are_judged_as_files_are_and_give_pixels_and_a_map(bundle: Path, tmp_path: Path) -> None:
    predictor, path = Predictor(Bundle(bundle)), film(tmp_path / "a.png", 138)
    judged = predictor.judge_bytes(path.read_bytes(), "a.png", Wanted(heat=True, sha256=True))
    (expected,) = predictor.predict([path])
    assert judged.prediction.probability == expected.probability
    assert judged.film is not None
    assert (judged.film.pixels == 138).all()
    assert judged.film.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert judged.heat is not None
    assert predictor.judge_bytes(b"", "nothing").prediction.error == "is empty (0 bytes)"
