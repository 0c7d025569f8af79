"""A folder is one process's at a time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import call_cli
from toolkit.core.locks import held
from toolkit.errors import InputError

HOLDS = "import sys, time; from pathlib import Path; from toolkit.core.locks import held\nwith held(Path(sys.argv[1]), ''): print(1, flush=True); time.sleep(float(sys.argv[2]))"


def holder(folder: Path, seconds: float) -> subprocess.Popen[str]:
    found = subprocess.Popen([sys.executable, "-c", HOLDS, folder, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert found.stdout is not None
    assert found.stdout.readline() == "1\n"
    return found


def test_a_folder_that_another_process_holds_is_refused_until_that_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with holder(tmp_path, 600) as other:
        with pytest.raises(InputError, match="busy"), held(tmp_path, "busy"):
            pass
        assert call_cli("train", "recipes/demo.yaml", "--out", tmp_path) == 2
        assert "is being worked in by another command; wait for it, or choose another --out" in capsys.readouterr().err
        other.kill()
        other.wait()
        with held(tmp_path, "busy"):
            pass


def test_patience_waits_for_one_that_lets_go(tmp_path: Path) -> None:
    with holder(tmp_path, 0.5), held(tmp_path, "busy", patience_s=30):
        pass


def test_a_tied_process_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    (tmp_path / "sleeps.py").write_text("import sys, time; print(sys.argv, flush=True); time.sleep(600)", encoding="ascii")
    code = (
        "import os, subprocess, sys\n"
        "tie, ours = os.pipe()\n"
        "run = subprocess.Popen([sys.executable, '-m', 'toolkit.engine.tied', 'sleeps', 'word'], stdin=tie, stdout=subprocess.PIPE, text=True)\n"
        "print(run.pid, run.stdout.readline(), flush=True); run.wait()"
    )
    paths = f"{tmp_path}:{Path(__file__).parents[2]}"
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": paths, "PATH": ""})
    assert starter.stdout is not None
    pid, _, said = starter.stdout.readline().partition(" ")
    assert said.rstrip().endswith("sleeps.py', 'word']")
    starter.kill()
    starter.communicate()
    until = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii"):
        assert time.monotonic() < until, "it lives on"
        time.sleep(0.05)
