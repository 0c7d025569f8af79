"""What is measured on labelled films: metrics of an artifact, and of the folds of a cross-validation. JSON keys are promised to scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from toolkit.core.codec import Frozen
from toolkit.core.metrics import Confusion, Interval, above_chance

Verdict = Literal["pass", "fail"]
Mode = Literal["observed", "proven"]


class OutsideBand(Frozen, frozen=True, kw_only=True):
    """What a band of uncertainty does to these films. `unsure`: how many lie inside; `wrong_unsure`: how many of them the threshold alone
    would call wrongly. Outside: `missed` of all pneumonias, `false_alarms` of all normals."""

    unsure: int
    wrong_unsure: int
    missed: int
    false_alarms: int


class Evaluation(Frozen, frozen=True, kw_only=True):
    """Metrics of one artifact on labelled films. A metric without support is null, and `reason` says why.

    `at_half` holds the same rates with a threshold of .5 in place of the artifact's own. All rates are those of the threshold alone, which
    calls every film; `outside_band` is null where the artifact has no band.
    """

    artifact: str
    n: int
    threshold: float
    accuracy: float | None
    recall: float | None
    specificity: float | None
    precision: float | None
    f1: float | None
    balanced_accuracy: float | None
    roc_auc: float | None
    confusion: Confusion
    ci95: Mapping[str, Interval | None]
    reason: Mapping[str, str] = {}
    synthetic: bool = False
    unusable: Mapping[str, str] = {}
    at_half: Mapping[str, float | None] = {}
    outside_band: OutsideBand | None = None

    @property
    def tells_apart(self) -> bool:
        """False when the interval of the AUC reaches down to .5: then a loss against this model means nothing."""
        return above_chance(self.roc_auc, self.ci95.get("roc_auc"))


class Fold(Frozen, frozen=True, kw_only=True):
    """One fold of a cross-validation, judged on its own patients at a probability of .5."""

    films: int
    best_epoch: int
    accuracy: float | None
    recall: float | None
    specificity: float | None
    roc_auc: float | None


class Spread(Frozen, frozen=True, kw_only=True):
    """Mean and standard deviation over folds or seeds."""

    mean: float
    deviation: float


class CrossValidation(Frozen, frozen=True, kw_only=True):
    """`folds.json`."""

    folds: tuple[Fold, ...]
    accuracy: Spread
    recall: Spread
    specificity: Spread
    roc_auc: Spread
