"""From a pruned network to artifacts for many targets: the ladder, what stands in for what cannot run here, what is recommended where."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import get_args

import pytest

from tests.conftest import INT8, ROOT, TINY, call_cli
from tests.report import machines
from toolkit.artifact import WRITERS
from toolkit.benchmark.host import describe_host
from toolkit.core.bundle import Bundle, Manifest
from toolkit.core.codec import read_json
from toolkit.core.drift import DriftReport
from toolkit.core.evaluation import Verdict
from toolkit.core.latency import LatencyReport
from toolkit.core.reports import QuantizeReport, RunReport
from toolkit.core.target import Backend, Family
from toolkit.errors import MissingDependencyError, ModelError
from toolkit.export import to_tensorrt
from toolkit.infer import machine
from toolkit.stages import fastest_first, slower_than_float

DEMO = ROOT / "recipes" / "demo.yaml"
LADDER = "[percentile, entropy, bias_correction, float_layers, accuracy_control, fine_tuning, half_precision]"


def again(run: Path, verb: str, *overrides: str) -> int:
    """`compress` from a stage on, or one stage, of the tiny run with these overrides."""
    words = [word for value in (*TINY, *overrides) for word in ("--set", value)]
    redo = ("--redo", "quantize") if verb == "compress" else ("--redo",)
    return call_cli(verb, DEMO, "--out", run, *redo, *words)


def test_what_no_rung_saves_is_replaced_and_every_figure_is_in_the_report(copy_of_run: Path) -> None:
    impossible = (
        "validate.corruption_films=0",
        "export.mean_logit_error_int8=1e-9",
        f"quantize={{calibration_films: 8, bias_correction: false, float_layers: 1, ladder: {LADDER}}}",
    )
    fine_tuning = "quantize.fine_tuning={epochs: 1, learning_rate: 1e-5}"
    assert again(copy_of_run, "compress", *impossible, fine_tuning) == 0
    report = read_json(copy_of_run / "report.json", RunReport)
    assert report.quantizing is not None
    rungs = {name: [row.rung for row in report.quantizing.attempts if row.artifact == name] for name in (INT8, "openvino-int8")}
    every = ["start", "percentile", "entropy", "bias_correction", "float_layers", "fine_tuning"]
    assert rungs[INT8] == every
    assert rungs["openvino-int8"] == [*every[:-1], "accuracy_control", "fine_tuning"]
    assert report.quantizing.replaced == {INT8: "onnxruntime-fp16w", "openvino-int8": "openvino-fp16w"}
    assert Bundle(copy_of_run / "bundle").names == ("onnxruntime-fp32", "onnxruntime-fp16w", "openvino-fp32", "openvino-fp16w")
    for name, stands_in in report.quantizing.replaced.items():
        assert report.left_out[name] == f"no rung of the ladder kept its answers on held-out patients; {stands_in} stands in for it"
    page = re.sub(r"<[^>]+>", " ", (copy_of_run / "report.html").read_text())
    for row in report.quantizing.attempts:
        assert f"{row.mean_logit_error:.3f}" in page
        assert row.rung in page


def test_without_the_rung_of_half_precision_the_artifact_is_refused(copy_of_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ("export.mean_logit_error_int8=1e-9", "quantize={calibration_films: 8, ladder: []}", "export.artifacts=[openvino-int8]")
    assert again(copy_of_run, "quantize", *overrides) == 0
    assert again(copy_of_run, "export", *overrides) == 1
    error = capsys.readouterr().err
    assert "openvino-int8 disagrees with torch: mean logit error" in error
    assert re.search(r"layer that departs is \w|no layer departs on its own, most of all is \w", error)


EVERY = (
    "onnxruntime-fp32",
    "onnxruntime-int8-arm64",
    "openvino-int8ac",
    "openvino-bf16",
    "openvino-fp16-gpu",
    "tensorrt-fp16",
    "tensorrt-int8",
    "tensorrt-rtx-fp32",
)


@pytest.fixture(scope="module")
def every_target(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run, for targets of which most cannot run here."""
    run = Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("every") / "run"))
    assert again(run, "compress", f"export.artifacts=[{', '.join(EVERY)}]", "export.capabilities=['8.6']") == 0
    return run


@pytest.fixture(scope="module")
def for_every_target(every_target: Path) -> Manifest:
    """The manifest of that run's bundle."""
    bundle = Bundle(every_target / "bundle")
    bundle.verify()
    return bundle.manifest


def test_the_page_says_of_which_files_the_digest_does_not_come_back(every_target: Path, finished_run: Path) -> None:
    assert "all files but the engines (tensorrt-rtx-fp32) have the same digest" in (every_target / "report.html").read_text()
    assert "all files but the engines" not in (finished_run / "report.html").read_text()


def test_a_bundle_carries_what_cannot_run_here_and_says_why(for_every_target: Manifest) -> None:
    assert tuple(artifact.name for artifact in for_every_target.artifacts) == EVERY
    said = for_every_target.unmeasured
    assert "no engine was built here" in said["tensorrt-fp16"]
    assert "tensorrt-rtx-fp32" in said
    assert "GPU" in said["openvino-fp16-gpu"]
    assert "onnxruntime-int8-arm64" not in said
    assert all(artifact.parity.films >= 8 for artifact in for_every_target.artifacts)


def test_what_was_not_measured_is_not_recommended(for_every_target: Manifest) -> None:
    listed = {name for names in for_every_target.recommended_for.values() for name in names} | set(for_every_target.recommended)
    assert listed
    assert not listed & for_every_target.unmeasured.keys()
    untimed = {"onnxruntime-int8-arm64", "openvino-int8ac"} if machine.family() == "x86" else set()
    assert {name for name, reason in for_every_target.left_out.items() if "sums of bytes would overflow" in reason} == untimed
    for artifact in for_every_target.artifacts:
        measured = artifact.name not in for_every_target.unmeasured
        assert (artifact.drift is not None) == (artifact.metrics is not None) == measured
        assert (artifact.p50_ms is not None) == (measured and artifact.name not in untimed)


def test_forms_of_other_processors_are_recommended_there_alone(for_every_target: Manifest) -> None:
    for family in ("x86-vnni", "x86"):
        assert "onnxruntime-int8-arm64" not in for_every_target.recommended_for[family]
    assert "onnxruntime-int8-arm64" in {*for_every_target.recommended_for["arm64"], *for_every_target.left_out}


def test_engines_are_built_ahead_of_time_and_their_graph_travels_along(for_every_target: Manifest) -> None:
    files = {artifact.name: [file.path for file in artifact.files] for artifact in for_every_target.artifacts}
    assert files["tensorrt-rtx-fp32"] == ["tensorrt-rtx-fp32.engine", "tensorrt-rtx-fp32.engine.json", "fp32.onnx"]
    assert files["tensorrt-fp16"] == ["fp16.onnx"]
    assert files["onnxruntime-fp32"] == files["openvino-bf16"] == ["fp32.onnx"]


def test_an_int8_graph_that_tensorrt_refuses_is_left_out(copy_of_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ("export.artifacts=[onnxruntime-fp32, tensorrt-rtx-int8]", "export.mean_logit_error_int8=10")
    assert again(copy_of_run, "quantize", *overrides) == 0

    def refuse(*_: object) -> None:
        raise ModelError("TensorRT-RTX cannot build int8.onnx: no kernel.")

    monkeypatch.setattr(to_tensorrt, "build", refuse)
    assert again(copy_of_run, "export", *overrides) == 0
    manifest = Bundle(copy_of_run / "export").manifest
    assert [artifact.name for artifact in manifest.artifacts] == ["onnxruntime-fp32"]
    assert manifest.left_out == {"tensorrt-rtx-int8": "TensorRT-RTX cannot build int8.onnx: no kernel."}


def test_a_library_that_is_missing_leaves_the_graph(copy_of_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ("export.artifacts=[onnxruntime-fp32, tensorrt-rtx-fp16]",)
    assert again(copy_of_run, "quantize", *overrides) == 0

    def missing(*_: object) -> None:
        raise MissingDependencyError("tensorrt_rtx", "tensorrt-rtx", "Building an engine")

    monkeypatch.setattr(to_tensorrt, "build", missing)
    assert again(copy_of_run, "export", *overrides) == 0
    manifest = Bundle(copy_of_run / "export").manifest
    assert [file.path for file in manifest.artifacts[1].files] == ["fp16.onnx"]
    assert "pip install 'cxr-edge[tensorrt-rtx]'" in manifest.unmeasured["tensorrt-rtx-fp16"]


def test_every_backend_has_a_writer() -> None:
    assert set(WRITERS) == set(get_args(Backend))


def test_other_preprocessing_than_the_checkpoints_is_refused(copy_of_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for value in (*TINY, "preprocessing.normalise=film") for word in ("--set", value)]
    assert call_cli("quantize", DEMO, "--out", copy_of_run, *words) == 2
    error = capsys.readouterr().err
    assert "'quantize' continues from what 'train' leaves in" in error
    assert "belongs to another recipe" in error
    assert "Traceback" not in error


def latency(**p50: float) -> LatencyReport:
    """One row for each artifact, named with underscores."""
    rows = tuple(machines.row(name.replace("_", "-"), value) for name, value in p50.items())
    return LatencyReport(host=describe_host(), rows=rows)


def drift(verdicts: dict[str, Verdict]) -> DriftReport:
    """One row for each artifact."""
    rows = tuple(machines.drift_row(name, verdict) for name, verdict in verdicts.items())
    return DriftReport(reference="dense", n=1, rows=rows, verdict="pass")


def as_family(monkeypatch: pytest.MonkeyPatch, family: Family) -> None:
    monkeypatch.setattr(machine, "family", lambda: family)


def test_int8_that_float_beats_is_named_with_both_times(monkeypatch: pytest.MonkeyPatch) -> None:
    as_family(monkeypatch, "x86-vnni")
    times = latency(onnxruntime_fp32=2.0, onnxruntime_int8=2.5, onnxruntime_int8_arm64=9.0, openvino_fp32=1.0, openvino_int8=0.5)
    assert slower_than_float(times) == {"onnxruntime-int8": "it is slower than onnxruntime-fp32 here: 2.500 ms against 2.000 ms"}


def test_each_family_gets_what_passed_the_fastest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    as_family(monkeypatch, "x86-vnni")
    times = latency(
        onnxruntime_fp32=3.0,
        onnxruntime_int8=1.0,
        onnxruntime_int8_x86=1.2,
        onnxruntime_int8_arm64=1.4,
        openvino_fp32=2.0,
        openvino_int8=0.5,
    )
    verdicts = dict.fromkeys((row.artifact for row in times.rows), "pass") | {"openvino-int8": "fail"}
    assert fastest_first(drift(verdicts), times) == {
        "x86-vnni": ("onnxruntime-int8", "onnxruntime-int8-x86", "openvino-fp32", "onnxruntime-fp32"),
        "x86": ("onnxruntime-int8-x86", "openvino-fp32", "onnxruntime-fp32"),
        "arm64": ("onnxruntime-int8-arm64", "openvino-fp32", "onnxruntime-fp32"),
    }


def test_attempts_are_kept_beside_the_graphs(finished_run: Path) -> None:
    report = read_json(finished_run / "quantize" / "quantize.json", QuantizeReport)
    for name in {row.artifact for row in report.attempts}:
        assert sum(row.chosen for row in report.attempts if row.artifact == name) == 1
