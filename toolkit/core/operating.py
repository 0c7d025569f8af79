"""The operating point: temperature and threshold, chosen on held-out patients, stored with each artifact."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from toolkit.core.codec import Frozen
from toolkit.core.metrics import Confusion, FloatArray, LabelArray, recall_at, roc_auc
from toolkit.errors import MissingDependencyError


class Band(Frozen, frozen=True, kw_only=True):
    """Probabilities that are too near the threshold to be called: `low <= probability < high`, where `low <= threshold <= high`.

    On the `films` of held-out patients: `missed` is the share of pneumonias below `low`, `false_alarms` the share of normals at or above
    `high`, `unsure` the share of all films in between.
    """

    low: Annotated[float, Meta(ge=0, le=1)]
    high: Annotated[float, Meta(ge=0, le=1)]
    missed: float
    false_alarms: float
    unsure: float
    films: int


class OperatingPoint(Frozen, frozen=True, kw_only=True):
    """`probability = sigmoid(logit / temperature)`; a film is called positive when `probability >= threshold`. `band`: where the clinic
    is told that the film is uncertain instead; null calls every film."""

    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    temperature: Annotated[float, Meta(gt=0)] = 1.0
    band: Band | None = None

    def __post_init__(self) -> None:
        if self.band and not self.band.low <= self.threshold <= self.band.high:
            raise ValueError(f"its band, {self.band.low:g} to {self.band.high:g}, does not hold its threshold {self.threshold:g}")

    def is_uncertain(self, probability: float) -> bool:
        """True inside the band."""
        return self.band is not None and self.band.low <= probability < self.band.high

    def probability(self, logits: FloatArray) -> NDArray[np.float64]:
        """Calibrated probability of the positive class, float64 in (0, 1), same shape as `logits`."""
        scaled = np.asarray(logits, np.float64) / self.temperature
        limited = np.minimum(np.maximum(scaled, -700), 36)  # beyond, float64 rounds to 1; np.clip takes longer than all the rest
        return np.asarray(1 / (1 + np.exp(-limited)))

    def probability_of(self, logit: float) -> float:
        """The same of one film, to the last digit but one, in a tenth of the time: after an inference, numpy's code is in no cache."""
        return 1 / (1 + math.exp(-min(max(logit / self.temperature, -700.0), 36.0)))

    def logit_threshold(self) -> float:
        """The threshold on the scale of the graph's output."""
        return float(self.temperature * np.log(self.threshold / (1 - self.threshold)))


def choose(labels: LabelArray, logits: FloatArray, target_recall: float) -> OperatingPoint:
    """Temperature by maximum likelihood (Guo et al. 2017), then the highest threshold that reaches `target_recall`.

    `labels` 0 or 1 `[N]` and `logits` `[N]` of held-out patients; both classes must occur. The threshold lies half-way
    between the film that decides and the next lower score, so that a change in the last digit decides nothing.
    """
    point = OperatingPoint(temperature=_temperature(labels, logits))
    scores = point.probability(logits)
    positives = np.sort(scores[labels == 1])[::-1]  # [P], highest first
    needed = int(np.ceil(target_recall * len(positives) - 1e-9))
    deciding = positives[max(needed, 1) - 1]
    below = scores[scores < deciding]
    threshold = (deciding + below.max()) / 2 if len(below) else deciding / 2
    return OperatingPoint(threshold=float(threshold), temperature=point.temperature)


def with_band(point: OperatingPoint, labels: LabelArray, logits: FloatArray, most_errors: float) -> OperatingPoint:
    """The point with the narrowest band outside of which at most `most_errors` of the pneumonias are missed and at most as large a share
    of the normals are false alarms. `labels` 0 or 1 `[N]`, `logits` `[N]` of held-out patients; both classes must occur.

    Edges lie half-way between two scores, as the threshold does. Each class has its own share, so that the band does not depend on how
    common pneumonia is where it is used.
    """
    scores = point.probability(logits)
    sick, well = scores[labels == 1], scores[labels == 0]
    low = min(point.threshold, _edge(scores, np.sort(sick), most_errors))
    high = max(point.threshold, 1 - _edge(1 - scores, np.sort(1 - well), most_errors))
    band = Band(
        low=low,
        high=high,
        missed=float((sick < low).mean()),
        false_alarms=float((well >= high).mean()),
        unsure=float(((scores >= low) & (scores < high)).mean()),
        films=len(labels),
    )
    return OperatingPoint(threshold=point.threshold, temperature=point.temperature, band=band)


def _edge(scores: FloatArray, of_class: FloatArray, most_errors: float) -> float:
    """The highest value below which at most `most_errors` of a class lie; its scores `of_class` are sorted. Half-way to the next lower."""
    first_kept = of_class[int(np.floor(most_errors * len(of_class) + 1e-9))]
    below = scores[scores < first_kept]
    return float((first_kept + below.max()) / 2 if len(below) else first_kept / 2)


def losses(labels: LabelArray, before: FloatArray, after: FloatArray, target_recall: float) -> tuple[float, float]:
    """Points of recall, and AUC, that a model loses against the one before it, when it is allowed no more false alarms than that one at
    its operating point. `before` and `after` are logits `[N]` of held-out patients.
    """
    point = choose(labels, before, target_recall)
    rates, _ = Confusion.of(labels, before >= point.logit_threshold()).rates()
    specificity = rates["specificity"] or 0.0
    recalls = [recall_at(labels, logits, specificity) for logits in (before, after)]
    areas = [roc_auc(labels, logits) or 0.0 for logits in (before, after)]
    return 100 * (recalls[0] - recalls[1]), areas[0] - areas[1]


def _temperature(labels: LabelArray, logits: FloatArray) -> float:
    try:
        from scipy.optimize import minimize_scalar
    except ImportError as cause:
        raise MissingDependencyError("scipy", "workshop", "Choosing a temperature") from cause
    signed = np.where(labels == 1, logits, -logits)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signed / np.exp(log_temperature)).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))
