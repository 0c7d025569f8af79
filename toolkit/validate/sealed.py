"""Does an artifact still answer as it did when it was sealed? Another preparation of films, runtime or processor shows here first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from toolkit.core.bundle import Artifact
from toolkit.core.reports import Check
from toolkit.core.target import Precision
from toolkit.data.cases import Labelled
from toolkit.validate.scores import Probabilities, Scores, named


class Tolerance(NamedTuple):
    """By how much probabilities may differ from the sealed ones: on average, and at the most."""

    mean: float
    largest: float


SINGLE = Tolerance(0.0005, 0.01)
HALF = Tolerance(0.002, 0.03)
INTEGER = Tolerance(0.004, 0.05)  # kernels of another generation round at other places; a tie may fall on the other side
TOLERANCES: dict[Precision, Tolerance] = {"fp32": SINGLE, "fp16w": SINGLE, "fp16": HALF, "bf16": HALF, "int8": INTEGER, "int8ac": INTEGER}


def check(artifact: Artifact, scores: Scores, sealed: Probabilities | None, films: Labelled) -> tuple[Check, ...]:
    """The check 'sealed': the threshold is the one that the metrics were sealed with, and the probabilities `[N]` are the sealed ones
    within the tolerance of the precision. Nothing where the bundle does not carry them."""
    tolerance = TOLERANCES[artifact.target.precision]
    moved = np.abs(scores.probability - sealed) if sealed is not None and len(sealed) else None
    problems = [*_threshold(artifact), *(_moved(moved, tolerance, films) if moved is not None else ())]
    if moved is None and not problems:
        return ()
    return (
        Check(
            name="sealed",
            value=None if moved is None else float(moved.max()),
            limit=tolerance.largest,
            verdict="fail" if problems else "pass",
            reason="; ".join(problems),
        ),
    )


def _threshold(artifact: Artifact) -> Sequence[str]:
    metrics, threshold = artifact.metrics, artifact.operating.threshold
    if metrics is None or abs(metrics.threshold - threshold) <= 1e-9:
        return ()
    return (f"its threshold is {threshold:.4f} and it was sealed with {metrics.threshold:.4f}",)


def _moved(moved: Probabilities, tolerance: Tolerance, films: Labelled) -> Sequence[str]:
    if moved.mean() <= tolerance.mean and moved.max() <= tolerance.largest:
        return ()
    worst = named([films.cases[row].name for row in np.argsort(-moved, kind="stable")[: (moved > tolerance.largest).sum() or 1].tolist()])
    return (
        f"its probabilities moved by {moved.mean():.4f} on average and {moved.max():.3f} at most since it was sealed, "
        f"{tolerance.mean} and {tolerance.largest} are usual between machines; most in {worst}",
    )
