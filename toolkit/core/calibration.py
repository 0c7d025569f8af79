"""Is a probability of .8 right in eight of ten films?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toolkit.core.metrics import FloatArray, LabelArray

BINS = 10


class Bin(NamedTuple):
    """Films whose probability falls into one tenth: how many, their mean probability, the share of them that is positive."""

    films: int
    probability: float
    positive: float


def bins(labels: LabelArray, probabilities: FloatArray) -> tuple[Bin, ...]:
    """Ten equal bins of the probability, the empty ones left out; both `[N]`."""
    place = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    found = ((place == number) for number in range(BINS))
    return tuple(Bin(int(part.sum()), float(probabilities[part].mean()), float(labels[part].mean())) for part in found if part.any())


def calibration_error(labels: LabelArray, probabilities: FloatArray) -> float | None:
    """Expected calibration error (Naeini et al., AAAI 2015): how far share and probability lie apart, weighted by films. None of none."""
    found = bins(labels, probabilities)
    return sum(one.films * abs(one.probability - one.positive) for one in found) / len(labels) if found else None
