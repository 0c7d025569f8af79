"""Faults that compression, packing and preparation can have, each planted into a sealed bundle, its digests made right again: the gate
must fail or refuse, and say why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from tests.conftest import INT8, reseal
from toolkit.core.bundle import Bundle, write_manifest
from toolkit.core.drift import DriftReport, DriftRow
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import ValidateSpec
from toolkit.core.target import Target
from toolkit.data.cases import Case, Source, Truth
from toolkit.data.films import prepare_films
from toolkit.data.sources import read_source
from toolkit.errors import DataError
from toolkit.imaging import prepare as preparation
from toolkit.quantize.calibration import calibration_images
from toolkit.quantize.for_onnxruntime import FORMS as QUANTIZED
from toolkit.quantize.for_onnxruntime import quantize
from toolkit.quantize.ladder import Settings
from toolkit.validate.drift import compare
from toolkit.validate.gate import Question, judge_bundle
from toolkit.validate.scores import Scores

LOOSE = Question(ValidateSpec(max_recall_loss_pt=100))  # so that only what the fault changes can fail


def films_of(run: Path) -> Source:
    (folder,) = run.glob("phantoms-*")
    return read_source(folder)


def positive(number: int, group: str = "bacteria") -> Case:
    return Case(f"film{number}", "test", 1, f"p{number}", group, f"digest{number}")


def int8_file(run: Path) -> Path:
    bundle = Bundle(run / "bundle")
    return bundle.paths(bundle.artifact(INT8))[0]


def failed(report: DriftReport) -> dict[str, str]:
    """By artifact, the reasons of those that fail."""
    return {row.artifact: row.reason["verdict"] for row in report.rows if row.verdict == "fail"}


def checks(row: DriftRow) -> dict[str, str]:
    return {check.name: check.verdict for check in row.checks}


def test_a_bundle_as_it_was_sealed_passes(finished_run: Path) -> None:
    report = judge_bundle(Bundle(finished_run / "bundle"), films_of(finished_run), LOOSE)
    assert (report.verdict, failed(report)) == ("pass", {})
    assert checks(report.rows[0]) == {"recall": "pass", "classes": "pass", "subgroups": "pass", "sealed": "pass"}


def test_one_lost_positive_of_390_does_not_prove_one_point() -> None:
    truth = Truth(tuple(positive(n) for n in range(390)))
    before = np.full(390, 0.9)
    after = np.where(np.arange(390) == 7, 0.1, before)
    pair = Scores("dense", before, 0.5), Scores("small", after, 0.5), truth
    assert compare(*pair, ValidateSpec(max_recall_loss_pt=1)).verdict == "pass"
    row = compare(*pair, ValidateSpec(max_recall_loss_pt=1, mode="proven"))
    assert checks(row)["recall"] == "fail"
    assert row.reason["verdict"] == "it loses 1 and gains 0 of 390 pneumonias, up to 1.21 points (95 %), and the limit is 1"


def test_a_threshold_moved_by_five_hundredths(copy_of_run: Path) -> None:
    folder = copy_of_run / "bundle"
    manifest = Bundle(folder).manifest
    first, *others = manifest.artifacts
    moved = msgspec.structs.replace(first.operating, threshold=first.operating.threshold + 0.05, band=None)
    write_manifest(folder, msgspec.structs.replace(manifest, artifacts=(msgspec.structs.replace(first, operating=moved), *others)))
    found = failed(judge_bundle(Bundle(folder), films_of(copy_of_run), LOOSE))
    assert list(found) == [first.name]
    assert f"its threshold is {moved.threshold:.4f} and it was sealed with {first.operating.threshold:.4f}" in found[first.name]


def test_a_channel_of_the_int8_model_is_zero(copy_of_run: Path) -> None:
    folder, file = copy_of_run / "bundle", int8_file(copy_of_run)
    graph = onnx.load(file)
    kernels = [one for one in graph.graph.initializer if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 4]
    values = numpy_helper.to_array(kernels[0]).copy()
    values[int(np.abs(values.astype(int)).sum(axis=(1, 2, 3)).argmax())] = 0
    kernels[0].CopyFrom(numpy_helper.from_array(values, kernels[0].name))
    onnx.save(graph, file)
    reseal(folder)
    found = failed(judge_bundle(Bundle(folder), films_of(copy_of_run), LOOSE))
    assert list(found) == [INT8]
    assert "since it was sealed" in found[INT8]


def test_calibration_on_one_class_is_refused_and_shows_when_it_is_forced(copy_of_run: Path) -> None:
    folder, source, file = copy_of_run / "bundle", films_of(copy_of_run), int8_file(copy_of_run)
    healthy = [case for case in source.of("train") if case.label == 0]
    films = prepare_films(source, tuple(healthy), Bundle(folder).manifest.preprocessing, "read")
    with pytest.raises(DataError, match="Calibration wants 8 train films of each class; found 8 and 0"):
        calibration_images(films, 16, seed=1)
    darkest = films.images[np.argsort(films.images.mean(axis=(1, 2, 3)))[:4]]
    quantize(darkest, Settings(copy_of_run / "quantize" / "float.onnx", "minmax", False), file, QUANTIZED[Target.from_name(INT8).family])
    reseal(folder)
    assert "since it was sealed" in failed(judge_bundle(Bundle(folder), source, LOOSE))[INT8]


def test_another_resize_filter(copy_of_run: Path) -> None:
    folder = copy_of_run / "bundle"
    manifest = Bundle(folder).manifest
    write_manifest(
        folder, msgspec.structs.replace(manifest, preprocessing=msgspec.structs.replace(manifest.preprocessing, resample="bicubic"))
    )
    found = failed(judge_bundle(Bundle(folder), films_of(copy_of_run), LOOSE))
    assert set(found) == {artifact.name for artifact in manifest.artifacts}


def test_resizing_without_antialiasing(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def at_points(picture: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
        """Bilinear between the four pixels around each centre, as interpolation without antialiasing has it."""
        edge = preprocessing.size_px
        steps = (picture.width / edge, 0, 0, 0, picture.height / edge, 0)
        return np.asarray(picture.transform((edge, edge), Image.Transform.AFFINE, steps, Image.Resampling.BILINEAR))

    monkeypatch.setattr(preparation, "prepare", at_points)
    report = judge_bundle(Bundle(finished_run / "bundle"), films_of(finished_run), LOOSE)
    assert set(failed(report)) == {row.artifact for row in report.rows}


def test_swapped_labels(finished_run: Path) -> None:
    source = films_of(finished_run)
    swapped = replace(source, cases=tuple(replace(case, label=1 - case.label) for case in source.cases))
    with pytest.raises(DataError, match=r"films have another label than .* \(test/"):
        judge_bundle(Bundle(finished_run / "bundle"), swapped, LOOSE)


def test_a_score_file_of_other_images(copy_of_run: Path) -> None:
    folder = copy_of_run / "bundle"
    file = folder / "reference_scores.csv"
    head, *rows = file.read_text().splitlines()
    file.write_text("\n".join([head, *(row[::-1][-64:] + row[64:] for row in rows)]) + "\n")
    reseal(folder)
    with pytest.raises(DataError, match="None of the .* films is among"):
        judge_bundle(Bundle(folder), films_of(copy_of_run), LOOSE)


def test_a_subgroup_collapses_while_the_mean_stays() -> None:
    cases = tuple(positive(n, "virus" if n < 40 else "bacteria") for n in range(400))
    before = np.where((np.arange(400) >= 40) & (np.arange(400) < 52), 0.1, 0.9)  # twelve with bacteria are missed
    after = np.where(np.arange(400) < 12, 0.1, 0.9)  # now twelve with a virus
    row = compare(Scores("dense", before, 0.5), Scores("small", after, 0.5), Truth(cases), ValidateSpec())
    assert row.recall_loss_pt == 0.0
    assert checks(row) == {"recall": "pass", "classes": "pass", "subgroups": "fail"}
    assert row.reason["verdict"] == "cause=virus loses 12 and gains 0 of 40 pneumonias, more than the limit and chance explain"
