"""A search whose candidates are judged in processes of their own: each once, and the stage ends as it does without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import TINY, call_cli
from toolkit.core.codec import read_json
from toolkit.core.reports import PruneReport

SEARCH = "prune={method: structured, search: {method: optuna, trials: 3, epochs: 0, max_recall_loss_pt: 100}, recovery: {epochs: 0}, min_channels: 2, round_to: 2}"


def prune(out: Path, *more: str) -> int:
    changes = [word for change in (*TINY, SEARCH) for word in ("--set", change)]
    return call_cli("prune", "recipes/demo.yaml", "--out", out, *changes, "--redo", *more)


def test_candidates_are_judged_in_processes_each_once(copy_of_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune(copy_of_run, "--workers", "2") == 0
    report = read_json(copy_of_run / "prune" / "prune.json", PruneReport)
    assert len(report.candidates) == 3
    assert all(one.p50_ms > 0 and one.bytes > 0 for one in report.candidates)
    assert (copy_of_run / "prune" / "checkpoint.json").is_file()
    assert "Pareto" in capsys.readouterr().out


def test_an_engine_is_for_a_search_by_optuna(copy_of_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune(copy_of_run, "--workers", "2", "--set", "prune.search.method=bisection") == 2
    assert "are for a search by 'optuna'" in capsys.readouterr().err
    assert (copy_of_run / "prune" / "checkpoint.json").is_file()  # though --redo was said
