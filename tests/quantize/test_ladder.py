"""The ladder: which rungs are tried, in which order, and what is kept; the graphs are made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.core.recipe import QuantizeSpec, Rung
from toolkit.quantize.ladder import Files, Ladder, Loss, Settings, climb

ALL: tuple[Rung, ...] = ("minmax", "percentile", "entropy", "bias_correction", "float_layers", "accuracy_control", "fine_tuning")
GOOD, BAD = Loss(0.01, 0.0, 0.0), Loss(0.1, 5.0, 0.1)


class Workshop:
    """Writes the settings down in place of a graph; `judge` says what graphs of these settings lose."""

    def __init__(self, folder: Path, judge: Callable[[Settings], Loss], rungs: tuple[Rung, ...] = ALL) -> None:
        self.file, self.judge, self.made = folder / "int8.onnx", judge, list[Settings]()
        self.ladder = Ladder(
            artifact="onnxruntime-int8",
            spec=QuantizeSpec(max_recall_loss_pt=0.5, max_roc_auc_loss=0.002, float_layers=2),
            max_mean_logit_error=0.25,
            rungs=rungs,
            make=self.make,
            judge=lambda files: judge(self.made[-1]),
            worst=lambda files: [2, 0, 1],
            layers=["first", "second", "third"],
            fine_tuned=lambda: folder / "fine-tuned.onnx",
        )
        self.start = Settings(folder / "float.onnx")

    def make(self, settings: Settings) -> Files:
        self.made.append(settings)
        self.file.write_text(repr(settings))
        return (self.file,)


def test_a_graph_that_holds_at_once_climbs_no_rung(tmp_path: Path) -> None:
    work = Workshop(tmp_path, lambda settings: GOOD)
    (only,) = climb(work.ladder, work.start)
    assert (only.rung, only.passed, only.chosen, only.calibration) == ("start", True, True, "minmax")
    assert len(work.made) == 1


def test_every_rung_has_its_turn_and_what_erred_least_is_made_again(tmp_path: Path) -> None:
    errors = {"minmax": 0.3, "percentile": 0.1, "entropy": 0.2}
    work = Workshop(tmp_path, lambda settings: Loss(errors[settings.calibration] + settings.bias_correction, 5.0, 0.0))
    tried = climb(work.ladder, work.start)
    assert [attempt.rung for attempt in tried] == [
        "start",
        "percentile",
        "entropy",
        "bias_correction",
        "float_layers",
        "float_layers",
        "accuracy_control",
        "fine_tuning",
    ]
    assert [attempt.float_layers for attempt in tried[4:6]] == [("third",), ("first", "third")]
    assert [attempt.chosen for attempt in tried] == [False, True, *[False] * 6]
    assert all(not attempt.passed for attempt in tried)
    assert work.file.read_text() == repr(Settings(tmp_path / "float.onnx", "percentile"))


@pytest.mark.parametrize(
    ("holds", "rung", "graph"),
    [
        (lambda settings: settings.calibration == "entropy", "entropy", "float.onnx"),
        (lambda settings: settings.bias_correction, "bias_correction", "float.onnx"),
        (lambda settings: settings.float_layers == (0, 2), "float_layers", "float.onnx"),
        (lambda settings: settings.accuracy_control, "accuracy_control", "float.onnx"),
        (lambda settings: settings.graph.name == "fine-tuned.onnx", "fine_tuning", "fine-tuned.onnx"),
    ],
)
def test_the_climb_ends_where_it_holds(holds: Callable[[Settings], bool], rung: str, graph: str, tmp_path: Path) -> None:
    work = Workshop(tmp_path, lambda settings: GOOD if holds(settings) else BAD)
    last = climb(work.ladder, work.start)[-1]
    assert (last.rung, last.passed, last.chosen) == (rung, True, True)
    assert work.made[-1].graph.name == graph
    assert holds(work.made[-1])


def test_biases_that_are_corrected_already_are_no_rung(tmp_path: Path) -> None:
    work = Workshop(tmp_path, lambda settings: BAD, rungs=("bias_correction",))
    assert [attempt.rung for attempt in climb(work.ladder, replace(work.start, bias_correction=True))] == ["start"]


@pytest.mark.parametrize("loss", [Loss(0.26, 0.0, 0.0), Loss(0.0, 0.6, 0.0), Loss(0.0, 0.0, 0.003), Loss(float("nan"), 0.0, 0.0)])
def test_each_limit_counts(loss: Loss, tmp_path: Path) -> None:
    work = Workshop(tmp_path, lambda settings: loss, rungs=())
    assert [attempt.passed for attempt in climb(work.ladder, work.start)] == [False]


def test_at_the_limits_it_holds(tmp_path: Path) -> None:
    work = Workshop(tmp_path, lambda settings: Loss(0.25, 0.5, 0.002), rungs=())
    assert [attempt.passed for attempt in climb(work.ladder, work.start)] == [True]
