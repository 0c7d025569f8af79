"""The whole flow: its results, its marks, its resumption after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, TINY, call_cli
from toolkit.core.bundle import Bundle
from toolkit.core.codec import read_json
from toolkit.core.files import sha256_of
from toolkit.core.reports import RunReport
from toolkit.pipeline import Mark

OVERRIDES = [word for value in TINY for word in ("--set", value)]
DEMO = ROOT / "recipes" / "demo.yaml"


def model_digests(run: Path) -> dict[str, str]:
    """Digest of each model file of the run's bundle."""
    return {artifact.name: " ".join(file.sha256 for file in artifact.files) for artifact in Bundle(run / "bundle").manifest.artifacts}


def test_a_finished_run_leaves_bundle_and_reports(finished_run: Path) -> None:
    bundle = Bundle(finished_run / "bundle")
    bundle.verify()
    report = read_json(finished_run / "report.json", RunReport)
    assert report.synthetic
    assert report.bundle_sha256 == bundle.sha256 == sha256_of(finished_run / "bundle" / "bundle.json")
    assert bundle.names == ("onnxruntime-fp32", "onnxruntime-int8", "openvino-fp32", "openvino-int8")
    assert set(report.recommended) == set(bundle.names)


def test_recommended_are_sorted_by_measured_latency(finished_run: Path) -> None:
    manifest = Bundle(finished_run / "bundle").manifest
    p50 = {artifact.name: artifact.p50_ms for artifact in manifest.artifacts}
    times = [p50[name] for name in manifest.recommended]
    assert None not in times
    assert times == sorted(times, key=lambda value: value or 0)


def test_each_artifact_names_its_parents(finished_run: Path) -> None:
    weights = json.loads((finished_run / "prune" / "checkpoint.json").read_text())
    dense = json.loads((finished_run / "train" / "checkpoint.json").read_text())
    manifest = Bundle(finished_run / "bundle").manifest
    assert weights["provenance"]["parent_sha256"] == dense["weights_sha256"] == sha256_of(finished_run / "train" / "weights.safetensors")
    assert manifest.provenance.parent_sha256 == weights["weights_sha256"]
    assert manifest.reference is not None
    assert manifest.reference.weights_sha256 == dense["weights_sha256"]


def test_a_second_run_of_the_same_command_makes_nothing_again(copy_of_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy_of_run.glob("*/stage.json")}
    weights = (copy_of_run / "train" / "weights.safetensors").stat().st_mtime_ns
    assert call_cli("compress", DEMO, "--out", copy_of_run, *OVERRIDES) == 0
    assert {path: path.stat().st_mtime_ns for path in copy_of_run.glob("*/stage.json")} == before
    assert (copy_of_run / "train" / "weights.safetensors").stat().st_mtime_ns == weights


def test_results_of_another_recipe_are_not_overwritten(copy_of_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_cli("compress", DEMO, "--out", copy_of_run, *OVERRIDES, "--set", "train.learning_rate=0.01") == 2
    error = capsys.readouterr().err
    assert "train was made with another recipe" in error
    assert "--redo train" in error
    assert (copy_of_run / "train" / "weights.safetensors").is_file()


def test_redo_makes_a_stage_and_its_followers_anew(copy_of_run: Path) -> None:
    dense = sha256_of(copy_of_run / "train" / "weights.safetensors")
    changed = [*OVERRIDES, "--set", "prune.sparsity=0.8"]
    assert call_cli("compress", DEMO, "--out", copy_of_run, *changed, "--redo", "prune") == 0
    assert sha256_of(copy_of_run / "train" / "weights.safetensors") == dense
    assert Bundle(copy_of_run / "bundle").manifest.sparsity == pytest.approx(0.8, abs=0.001)


@pytest.mark.parametrize("stage", ["prune", "quantize", "export"])
def test_a_stage_says_so_when_the_one_before_is_missing(stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_cli(stage, DEMO, "--out", tmp_path, *OVERRIDES) == 2
    assert f"'{stage}' continues from what 'train' leaves in {tmp_path / 'train'}" in capsys.readouterr().err


def test_single_stages_make_what_compress_makes(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("train", "prune", "quantize", "export"):
        assert call_cli(stage, DEMO, "--out", tmp_path, *OVERRIDES) == 0
        assert f"{stage}: " in capsys.readouterr().out
    for name in ("fp32.onnx", "int8.onnx", "int8.xml", "int8.bin"):
        assert sha256_of(tmp_path / "export" / name) == sha256_of(finished_run / "bundle" / name)


def test_progress_goes_to_a_terminal_on_stderr_and_never_to_stdout(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "toolkit.cli", "train", str(DEMO), "--out", str(tmp_path), *OVERRIDES, "--set", "train.epochs=1"]
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (30, 100))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end)
    os.close(end)
    shown = read_terminal(terminal)
    out, _ = process.communicate()
    assert out.decode() == f"train: {tmp_path / 'train'}/checkpoint.json, weights.safetensors and history.csv\n"
    for word in ("draw train", "read train", "Epoch 0", "train: done in"):
        assert word in shown


def read_terminal(terminal: int) -> str:
    """Everything that is shown until the program at the other end closes it."""
    shown = b""
    with contextlib.suppress(OSError):  # Linux tells the end of a pseudo-terminal so
        while piece := os.read(terminal, 65536):
            shown += piece
    os.close(terminal)
    return shown.decode()


# A file of the stage that shows that it is well under way.
UNDER_WAY = {"train": "train/last.ckpt", "prune": "prune/last.ckpt", "export": "export/fp32.onnx"}


@pytest.mark.parametrize("stage", list(UNDER_WAY))
def test_a_killed_run_ends_with_the_same_model_files(stage: str, finished_run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "toolkit.cli", "compress", str(DEMO), "--out", str(tmp_path / "run"), *OVERRIDES]
    kill_when_there(command, tmp_path / "run" / UNDER_WAY[stage])
    mark = read_json(tmp_path / "run" / stage / "stage.json", Mark)
    assert not mark.done, f"{stage} was over before the kill"
    assert not (tmp_path / "run" / "bundle").exists()
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert model_digests(tmp_path / "run") == model_digests(finished_run)


def kill_when_there(command: list[str], file: Path) -> None:
    """SIGKILL the command as soon as the file exists."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not file.exists():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
