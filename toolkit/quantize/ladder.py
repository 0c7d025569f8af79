"""Rung by rung, until an int8 graph keeps what the float graph knows on held-out patients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from toolkit.core.recipe import Calibration, QuantizeSpec, Rung
from toolkit.core.reports import QuantizeAttempt

Files = tuple[Path, ...]
START = "start"


@dataclass(frozen=True)
class Settings:
    """How one int8 graph is made. `graph`: the float ONNX file. `float_layers`: convolutions and linear layers, by their place in it."""

    graph: Path
    calibration: Calibration = "minmax"
    bias_correction: bool = False
    accuracy_control: bool = False
    float_layers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Loss:
    """What an int8 graph loses on held-out patients."""

    mean_logit_error: float
    recall_loss_pt: float
    roc_auc_loss: float


@dataclass(frozen=True)
class Ladder:
    """What a climb works with: `make` writes the graph of these settings over the last one; `judge` measures it; `worst` gives its layers
    by what rounding costs them, the worst first; `layers` names them; `fine_tuned` trains, and gives another float graph. A graph holds
    within the limits of `spec` and of `max_mean_logit_error`, which parity asks for afterwards."""

    artifact: str
    spec: QuantizeSpec
    max_mean_logit_error: float
    rungs: Sequence[Rung]
    make: Callable[[Settings], Files]
    judge: Callable[[Files], Loss]
    worst: Callable[[Files], Sequence[int]]
    layers: Sequence[str]
    fine_tuned: Callable[[], Path]


def climb(ladder: Ladder, start: Settings) -> tuple[QuantizeAttempt, ...]:
    """All that was tried, in order; one is `chosen`, and its files are there: the first that holds, or else the one that errs least."""
    tried: list[tuple[Settings, QuantizeAttempt]] = []
    _try(ladder, START, start, tried)
    for rung in ladder.rungs:
        for settings in _next(ladder, rung, tried):
            if not tried[-1][1].passed:
                _try(ladder, rung, settings, tried)
    chosen = min(range(len(tried)), key=lambda place: (not tried[place][1].passed, tried[place][1].mean_logit_error))
    if chosen != len(tried) - 1:
        ladder.make(tried[chosen][0])
    return tuple(msgspec.structs.replace(attempt, chosen=place == chosen) for place, (_, attempt) in enumerate(tried))


def _try(ladder: Ladder, rung: str, settings: Settings, tried: list[tuple[Settings, QuantizeAttempt]]) -> None:
    files = ladder.make(settings)
    loss = ladder.judge(files)
    attempt = QuantizeAttempt(
        artifact=ladder.artifact,
        rung=rung,
        calibration=settings.calibration,
        bias_correction=settings.bias_correction,
        float_layers=tuple(ladder.layers[place] for place in settings.float_layers),
        bytes=sum(file.stat().st_size for file in files),
        mean_logit_error=loss.mean_logit_error,
        recall_loss_pt=loss.recall_loss_pt,
        roc_auc_loss=loss.roc_auc_loss,
        passed=_holds(ladder, loss),
    )
    tried.append((settings, attempt))


def _holds(ladder: Ladder, loss: Loss) -> bool:
    spec = ladder.spec
    return (
        loss.mean_logit_error <= ladder.max_mean_logit_error
        and loss.recall_loss_pt <= spec.max_recall_loss_pt
        and loss.roc_auc_loss <= spec.max_roc_auc_loss
    )


def _next(ladder: Ladder, rung: Rung, tried: list[tuple[Settings, QuantizeAttempt]]) -> Iterator[Settings]:
    """What the rung changes in the settings that erred least so far."""
    if tried[-1][1].passed:
        return
    best = min(tried, key=lambda one: one[1].mean_logit_error)[0]
    if rung == "minmax" or rung == "entropy" or rung == "percentile":  # noqa: PLR1714  mypy follows this
        if rung not in {settings.calibration for settings, _ in tried}:
            yield replace(best, calibration=rung)
    elif rung == "bias_correction":
        if not best.bias_correction:
            yield replace(best, bias_correction=True)
    elif rung == "float_layers":
        order = ladder.worst(ladder.make(best))
        for count in range(1, min(ladder.spec.float_layers, len(order) - 1) + 1):
            yield replace(best, float_layers=tuple(sorted(order[:count])))
    elif rung == "accuracy_control":
        yield replace(best, accuracy_control=True)
    elif rung == "fine_tuning":
        yield replace(best, graph=ladder.fine_tuned())
