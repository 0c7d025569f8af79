"""Turns on one machine, with real processes: work beside work, a timing alone, and no waiting where nobody asked for turns."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolkit.core import turns

CODE = """
import sys, time
from pathlib import Path
from toolkit.core import turns
turns.take_turns(Path(sys.argv[1]))
log = Path(sys.argv[2]).open("a", buffering=1)
def do(kind, seconds, name):
    with getattr(turns, kind)():
        log.write(f"{time.monotonic()} + {kind} {name}\\n")
        time.sleep(seconds)
        log.write(f"{time.monotonic()} - {kind} {name}\\n")
for step in sys.argv[4:]:
    kind, seconds = step.split(":")
    if kind == "inner":
        with turns.working():
            do("alone", float(seconds), sys.argv[3])
    else:
        do(kind, float(seconds), sys.argv[3])
"""


def together(folder: Path, *plans: tuple[str, ...]) -> list[tuple[float, str, str, str]]:
    """Run a process for each plan; what they did, by the machine's clock."""
    log = folder / "log"
    runs = [subprocess.Popen([sys.executable, "-c", CODE, folder, log, str(number), *plan]) for number, plan in enumerate(plans)]
    assert [run.wait(timeout=60) for run in runs] == [0] * len(plans)
    rows = [line.split() for line in log.read_text(encoding="ascii").splitlines()]
    return sorted((float(at), sign, kind, name) for at, sign, kind, name in rows)


def test_a_timing_is_alone_and_work_is_side_by_side(tmp_path: Path) -> None:
    plan = ("working:0.2", "alone:0.1", "working:0.2", "alone:0.1")
    events = together(tmp_path, plan, plan, plan)
    inside: dict[str, set[str]] = {"working": set(), "alone": set()}
    most = 0
    for _, sign, kind, name in events:
        inside[kind].add(name) if sign == "+" else inside[kind].discard(name)
        most = max(most, len(inside["working"]))
        assert len(inside["alone"]) <= 1
        assert not (inside["alone"] and inside["working"])
    assert most > 1
    assert len(events) == 3 * 4 * 2


def test_a_timing_in_the_middle_of_work_lets_go_of_it_and_two_such_do_not_wait_for_each_other(tmp_path: Path) -> None:
    events = together(tmp_path, ("inner:0.1", "inner:0.1"), ("inner:0.1", "inner:0.1"))
    order = [(sign, name) for _, sign, _, name in events]
    assert all(order[at][0] == "+" and order[at + 1] == ("-", order[at][1]) for at in range(0, len(order), 2))
    assert len(order) == 8


def test_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", CODE, tmp_path, tmp_path / "log", "0", "alone:600"])
    while not (tmp_path / "log").is_file() or not (tmp_path / "log").read_text(encoding="ascii"):
        time.sleep(0.02)
    holder.kill()
    holder.wait()
    (tmp_path / "log").unlink()
    assert len(together(tmp_path, ("alone:0",))) == 2


def test_nobody_waits_who_did_not_ask_for_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_folder", [])
    with turns.working(), turns.alone():
        assert not turns._held
