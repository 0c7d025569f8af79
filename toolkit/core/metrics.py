"""One confusion table feeds every metric. A metric that has nothing to stand on is None, with the reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.core.codec import Frozen

Interval = tuple[float, float]
FloatArray = NDArray[np.floating]
LabelArray = NDArray[np.integer]

CHANCE = 0.5


@dataclass(frozen=True)
class Curves:
    """Points `[K, 2]`: (1 - specificity, recall) and (recall, precision); and the average precision."""

    roc: FloatArray
    precision_recall: FloatArray
    average_precision: float


NO_POSITIVES = "there is no positive film"
NO_NEGATIVES = "there is no negative film"
NO_CALLS = "no film was called positive"
ONE_CLASS = "all films are of one class"


class Confusion(Frozen, frozen=True, kw_only=True):
    """Counts of films: positive means pneumonia."""

    tp: int
    fp: int
    tn: int
    fn: int

    @classmethod
    def of(cls, labels: LabelArray, called: NDArray[np.bool_]) -> Confusion:
        """Count; `labels` is 0 or 1, `called` is True where the film was called positive, both `[N]`."""
        sick = labels.astype(bool)
        return cls(
            tp=int((sick & called).sum()),
            fp=int((~sick & called).sum()),
            tn=int((~sick & ~called).sum()),
            fn=int((sick & ~called).sum()),
        )

    @property
    def n(self) -> int:
        """All films."""
        return self.tp + self.fp + self.tn + self.fn

    @property
    def positives(self) -> int:
        """Films with pneumonia."""
        return self.tp + self.fn

    @property
    def negatives(self) -> int:
        """Films without pneumonia."""
        return self.tn + self.fp

    def rates(self) -> tuple[dict[str, float | None], dict[str, str]]:
        """Accuracy, recall, specificity, precision, F1, balanced accuracy; and why one is None."""
        recall, specificity = _ratio(self.tp, self.positives), _ratio(self.tn, self.negatives)
        both = None if recall is None or specificity is None else (recall + specificity) / 2
        rates = {
            "accuracy": _ratio(self.tp + self.tn, self.n),
            "recall": recall,
            "specificity": specificity,
            "precision": _ratio(self.tp, self.tp + self.fp),
            "f1": _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn),
            "balanced_accuracy": both,
        }
        why = {
            "accuracy": "there is no film",
            "recall": NO_POSITIVES,
            "specificity": NO_NEGATIVES,
            "precision": NO_CALLS,
            "f1": f"{NO_POSITIVES} and {NO_CALLS}",
            "balanced_accuracy": ONE_CLASS,
        }
        return rates, {name: why[name] for name, value in rates.items() if value is None}


def roc_auc(labels: LabelArray, scores: FloatArray) -> float | None:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties count half.

    `labels` 0 or 1 `[N]`, `scores` any monotone score `[N]`. None when a class is missing.
    """
    above = placements(labels, scores)
    return None if above is None else float(above[0].mean())


def recall_at(labels: LabelArray, scores: FloatArray, specificity: float) -> float:
    """The highest recall that a threshold gives with at least this specificity; `labels` 0 or 1 `[N]`, both classes occur."""
    negatives = np.sort(scores[labels == 0])[::-1]  # highest first
    allowed = int(np.floor((1 - specificity) * len(negatives) + 1e-9))
    if allowed >= len(negatives):
        return 1.0
    return float((scores[labels == 1] > negatives[allowed]).mean())


def above_chance(area: float | None, bounds: Interval | None) -> bool:
    """True when an AUC's interval stays above .5; without an interval (no spread in the scores) the area itself decides."""
    return (bounds[0] if bounds else area or 0) > CHANCE


def placements(labels: LabelArray, scores: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """DeLong's placement values: for each positive the share of negatives below it, for each negative the share of
    positives above it (ties count half). None when a class is missing. DeLong et al., Biometrics 44 (1988)."""
    positives, negatives = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    if not len(positives) or not len(negatives):
        return None
    return _share_below(negatives, positives), 1 - _share_below(positives, negatives)


def _share_below(others: FloatArray, values: FloatArray) -> FloatArray:
    left, right = np.searchsorted(others, values, "left"), np.searchsorted(others, values, "right")
    return (left + right) / (2 * len(others))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
