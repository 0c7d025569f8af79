"""Does an artifact still answer as it did when it was sealed? Another preparation of films, runtime or processor shows here first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from toolkit.core.bundle import Artifact
from toolkit.core.drift import Check
from toolkit.core.target import Precision
from toolkit.data.cases import Labelled
from toolkit.validate.scores import Probabilities, Scores, named


class Tolerance(NamedTuple):
    """By how much logits may differ from the sealed ones, relative where they are beyond 1 as in parity: on average, and at the most."""

    mean: float
    largest: float


SINGLE = Tolerance(0.002, 0.05)
HALF = Tolerance(0.015, 0.2)
INTEGER = Tolerance(0.03, 0.3)  # kernels of another generation round at other places
TOLERANCES: dict[Precision, Tolerance] = {"fp32": SINGLE, "fp16w": SINGLE, "fp16": HALF, "bf16": HALF, "int8": INTEGER, "int8ac": INTEGER}
LAST_DIGIT = 1e-6  # of a sealed probability: nearer to 0 or 1 nothing is known


def check(artifact: Artifact, scores: Scores, sealed: Probabilities | None, films: Labelled) -> tuple[Check, ...]:
    """The check 'sealed': the threshold is the one that the metrics were sealed with, and the logits are those of the sealed probabilities
    `[N]` within the tolerance of the precision. Nothing where the bundle does not carry them."""
    tolerance = TOLERANCES[artifact.target.precision]
    moved = None if sealed is None else movement(scores.probability, sealed, artifact.operating.temperature)
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


def movement(now: Probabilities, sealed: Probabilities, temperature: float) -> Probabilities:
    """Differences of logits `[N]`, relative where the sealed one is beyond 1; a temperature flattens probabilities, not these."""
    after, before = (temperature * np.log(part / (1 - part)) for part in (np.clip(p, LAST_DIGIT, 1 - LAST_DIGIT) for p in (now, sealed)))
    return np.asarray(np.abs(after - before) / np.maximum(1, np.abs(before)))


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
        f"its logits moved by {moved.mean():.3f} on average and {moved.max():.2f} at most since it was sealed, "
        f"{tolerance.mean} and {tolerance.largest} are usual between machines; most in {worst}",
    )
