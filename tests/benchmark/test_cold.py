"""Cold start: whole processes, their own memory, their failures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, call_cli
from toolkit.benchmark.run import cold_start
from toolkit.core.bundle import Bundle


def cold(runs: int, *code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "toolkit.benchmark.cold", str(runs), sys.executable, "-c", *code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_start_has_a_line_and_its_own_memory() -> None:
    ballast = np.ones(40_000_000)  # 320 MB of this process are not the child's
    small = [json.loads(line) for line in cold(2, "print('quiet')").stdout.splitlines()]
    large = json.loads(cold(1, "b = bytearray(150_000_000)").stdout)
    assert len(small) == 2
    assert ballast.nbytes / 2**20 > 300 > large[1] > 140 > max(memory for _, memory, _ in small)
    assert all(seconds > 0 and code == 0 for seconds, _, code in small)


def test_a_command_that_fails_ends_it_with_its_code() -> None:
    done = cold(3, "import sys; sys.exit(7)")
    assert (done.returncode, done.stdout) == (7, "")


def test_a_film_that_the_screen_rejects_is_an_answer_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Drawn films are none: a bundle with a screen had no cold start because of that."""
    shipped = ROOT / "exported" / "custom-cnn"
    found = cold_start(Bundle(shipped), "onnxruntime-fp32", 1)
    assert found is not None
    assert found.rejected
    asked = ("--artifact", "onnxruntime-fp32", "--threads", "1", "--runs", "20", "--most", "0", "--batch", "2", "--cold-starts", "1")
    assert call_cli("benchmark", shipped, *asked) == 0
    assert "the film was rejected, so the model was loaded and not asked: give --film" in capsys.readouterr().out


def test_the_whole_command_of_a_bundle(bundle: Path) -> None:
    found = cold_start(Bundle(bundle), "onnxruntime-fp32", 2)
    assert found is not None
    assert (found.artifact, found.runs, found.rejected) == ("onnxruntime-fp32", 2, False)
    assert 0 < found.wall_p50_s <= found.wall_max_s
    (bundle / "fp32.onnx").write_bytes(b"changed")
    assert cold_start(Bundle(bundle), "onnxruntime-fp32", 2) is None
