"""`cxr-edge export` has two forms; what belongs to the other one is refused in a sentence."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT, call_cli

DEMO = str(ROOT / "recipes" / "demo.yaml")
WRONG = {
    "a run's options": (["b", "--on-device", "--out", "r", "--redo"], "--on-device works in a finished bundle and takes no --out, --redo."),
    "a value": (["b", "--on-device", "--set", "a=1", "--data", "d"], "takes no --data, --set."),
    "no bundle": (["b", "--on-device"], "No bundle at b"),
    "an artifact of a run": ([DEMO, "--out", "r", "--artifact", "x"], "--artifact goes with --on-device"),
    "no folder": ([DEMO], "add --out RUN, or --on-device"),
    "no place": ([], "Missing argument 'RECIPE|BUNDLE'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_combinations_are_refused(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = WRONG[case]
    assert call_cli("export", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_help_shows_an_example_of_both_forms(capsys: pytest.CaptureFixture[str]) -> None:
    assert call_cli("export", "--help") == 0
    shown = capsys.readouterr().out
    assert "Example:  cxr-edge export recipes/" in shown
    assert "Example:  cxr-edge export --on-device " in shown
