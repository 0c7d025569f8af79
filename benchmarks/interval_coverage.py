"""How often do DeLong intervals of the AUC hold the true area? On the plain scale and on the logit scale that we use.

    python benchmarks/interval_coverage.py

Two normal distributions 1.5 apart, so the true area is known; 80 negatives, 120 positives; prints each scale's coverage, with
the shares of intervals that lie wholly below and wholly above the truth (2.5 % each would be right).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from toolkit.core.metrics import placements
from toolkit.validate.intervals import auc_interval

RUNS, SHIFT, NEGATIVES, POSITIVES = 4000, 1.5, 80, 120


def plain_interval(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Area plus and minus 1.96 standard errors."""
    found = placements(labels, scores)
    assert found is not None
    half = norm.ppf(0.975) * np.sqrt(sum(part.var(ddof=1) / len(part) for part in found))
    return found[0].mean() - half, found[0].mean() + half


def main() -> None:
    """Simulate and count."""
    truth, random = norm.cdf(SHIFT / np.sqrt(2)), np.random.default_rng(1)
    labels = np.array([0] * NEGATIVES + [1] * POSITIVES)
    bounds = {"plain": [], "logit": []}
    for _ in range(RUNS):
        scores = random.normal(labels * SHIFT, 1)
        bounds["plain"].append(plain_interval(labels, scores))
        bounds["logit"].append(auc_interval(labels, scores))
    for scale, pairs in bounds.items():
        low, high = np.array(pairs).T
        below, above = (high < truth).mean(), (low > truth).mean()
        print(f"{scale}: covers {1 - below - above:.3f}, below the truth {below:.3f}, above it {above:.3f}, {RUNS} runs")


if __name__ == "__main__":
    main()
