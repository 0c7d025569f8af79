"""What a sweep leaves. JSON keys are promised to scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from toolkit.core.codec import Frozen


class SweepPoint(Frozen, frozen=True, kw_only=True):
    """An artifact of a run that passed its gate and was timed. `p50_ms` of one film, alone on its machine; `recall` and `roc_auc` on
    held-out patients, recall at the sweep's specificity. `pareto`: of all runs none is better in bytes, latency and recall at once.
    """

    artifact: str
    bytes: int
    p50_ms: float
    recall: float
    roc_auc: float
    pareto: bool = False


class SweepTrial(Frozen, frozen=True, kw_only=True):
    """A run: `values` by the field's name; `reason` why it was given up, or failed."""

    number: int
    seed: int
    values: Mapping[str, Any]
    state: Literal["done", "hopeless", "failed"]
    reason: str = ""
    points: tuple[SweepPoint, ...] = ()


class SweepReport(Frozen, frozen=True, kw_only=True):
    """`sweep.json`."""

    name: str
    synthetic: bool
    specificity: float
    trials: tuple[SweepTrial, ...]
