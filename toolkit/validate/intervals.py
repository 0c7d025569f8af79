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


def loss_p(lost: int, gained: int) -> float:
    """One-sided mid-p McNemar test on the positives: how likely so many lost ones, or more, were if none were truly lost.

    The exact test counts the seen split wholly and so alarms too seldom; half of it keeps close to the nominal rate (Fagerland,
    Lydersen, Laake 2013; `benchmarks/drift_power.py` counts both).
    """
    if not lost + gained:
        return 1.0
    return float(stats.binom.sf(lost, lost + gained, 0.5) + 0.5 * stats.binom.pmf(lost, lost + gained, 0.5))


def beyond_limit_p(lost: int, positives: int, limit: float) -> float:
    """How likely at least `lost` of the positives were if the true share of lost ones were `limit`, 0 to 1 (exact binomial)."""
    return float(stats.binom.sf(lost - 1, positives, limit))


def lost_proven(positives: int, limit: float) -> int | None:
    """How many lost positives still prove that the share of lost ones is within `limit`, 0 to 1; None when not even 0 of so few do."""
    if limit >= 1:
        return positives
    found = None
    for lost in range(positives + 1):
        if upper_bound(lost, positives) > limit:
            break
        found = lost
    return found


def positives_needed(share: float, limit: float) -> int | None:
    """The least number of positives that prove a loss within `limit` when the share `share` of them is lost, both 0 to 1; None when that
    share is not below the limit. Lost ones are not rounded to whole films: rounding would let the answer jump."""
    if share >= limit:
        return None
    low, high = 0, 1
    while not _proves(share, limit, high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _proves(share, limit, middle) else (middle, high)
    return high


def _proves(share: float, limit: float, positives: int) -> bool:
    lost = share * positives
    return bool(stats.beta.ppf(CONFIDENCE, lost + 1, positives - lost) <= limit)  # Clopper-Pearson


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
