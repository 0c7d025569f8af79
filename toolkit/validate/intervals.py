"""Intervals and tests on counts of films. scipy does the statistics."""

from __future__ import annotations

import numpy as np

from toolkit.core.metrics import FloatArray, Interval, LabelArray, placements
from toolkit.errors import MissingDependencyError

try:
    from scipy import stats
except ImportError as _cause:
    raise MissingDependencyError("scipy", "validate", "Judging a model") from _cause

CONFIDENCE = 0.95


def wilson(successes: int, trials: int) -> Interval | None:
    """Two-sided 95 % interval of a share (Wilson 1927); None without trials."""
    if not trials:
        return None
    found = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def upper_bound(successes: int, trials: int) -> float:
    """One-sided 95 % upper bound of a share (Clopper-Pearson 1934)."""
    return float(stats.binomtest(successes, trials).proportion_ci(2 * CONFIDENCE - 1, method="exact").high)


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided exact McNemar test: the p value of so unequal a split of the films that changed sides."""
    return float(stats.binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0


def auc_interval(labels: LabelArray, scores: FloatArray) -> Interval | None:
    """Two-sided 95 % interval of the area under the ROC curve: DeLong's variance (1988) on the logit scale.

    On the plain scale it covers less than it says and can pass 1 (benchmarks/interval_coverage.py counts both). None when a
    class has fewer than two films, and when both classes are fully apart: the variance is then 0, which would pretend
    certainty.
    """
    found = placements(labels, scores)
    if found is None or min(map(len, found)) < 2:
        return None
    area = found[0].mean()
    variance = sum(part.var(ddof=1) / len(part) for part in found)
    if variance == 0:
        return None
    middle, half = np.log(area / (1 - area)), stats.norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt(variance) / (area * (1 - area))
    low, high = 1 / (1 + np.exp(-(middle + np.array([-half, half]))))
    return float(low), float(high)
