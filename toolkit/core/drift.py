"""What compression cost: each artifact against the dense reference. JSON keys are promised to scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from toolkit.core.codec import Frozen
from toolkit.core.evaluation import Mode, Verdict
from toolkit.core.metrics import Interval

Change = Literal["lost", "gained", "false alarm", "cleared"]  # of a positive film, then of a negative one


class Flip(Frozen, frozen=True, kw_only=True):
    """A film that reference and artifact call differently; both scores are probabilities, each with a threshold of its own, so that
    only `change` says which way. Null in reports of earlier versions."""

    path: str
    label: str
    reference: float
    score: float
    change: Change | None = None


class FlipPicture(Frozen, frozen=True, kw_only=True):
    """A row of `flips.json`: the picture of one flip, `file` beside it."""

    artifact: str
    path: str
    file: str


class Rate(Frozen, frozen=True, kw_only=True):
    """A rate of the reference and of an artifact on the same films, each with its 95 % interval (Wilson; DeLong for the AUC)."""

    reference: float | None
    artifact: float | None
    ci95_reference: Interval | None
    ci95: Interval | None


class Shift(Frozen, frozen=True, kw_only=True):
    """How far the probabilities moved, 0 to 1: absolute differences, and the calibration error (expected, ten equal bins) of each model."""

    mean: float
    largest: float
    calibration_error_reference: float | None
    calibration_error: float | None


class Outcome(Frozen, frozen=True, kw_only=True):
    """What a call at some threshold costs. `recall_loss_upper95_pt` bounds the share of lost positives, `loss_p` is the chance of so many
    lost ones, against the gained ones, if none were truly lost (mid-p McNemar on the positives, one-sided)."""

    threshold: float
    recall: float | None
    recall_loss_pt: float | None
    recall_loss_upper95_pt: float | None
    lost_positives: int
    gained_positives: int
    specificity_loss_pt: float | None
    accuracy_loss_pt: float | None
    mcnemar_p: float | None
    loss_p: float | None


class Subgroup(Frozen, frozen=True, kw_only=True):
    """One group of films, named KIND=GROUP. `detectable_loss_pt`: the least loss of recall that the gate could tell from chance in so
    few positives; null when not even the loss of all of them. `limit_p`: how likely the loss seen were if the true one were the limit."""

    positives: int
    lost_positives: int
    gained_positives: int
    recall_loss_pt: float | None
    films: int = 0
    recall_loss_upper95_pt: float | None = None
    specificity_loss_pt: float | None = None
    detectable_loss_pt: float | None = None
    limit_p: float | None = None
    verdict: Verdict = "pass"
    warning: str = ""


class Check(Frozen, frozen=True, kw_only=True):
    """One limit that an artifact is held against: 'recall', 'specificity', 'subgroups', 'classes' (it tells them apart), 'sealed' (it
    answers as it did when it was sealed). `value` and `limit` share a unit: points, an AUC, or relative logits; `reason` is for people."""

    name: str
    value: float | None
    limit: float
    verdict: Verdict
    reason: str = ""


class Allowance(Frozen, frozen=True, kw_only=True):
    """What a limit allows on these films: net lost positives that `observed` lets pass, lost ones that `proven` does (null: the films are
    too few to prove it with none lost), and how many positives, and films of this mix, are needed to prove it with none lost."""

    limit_pt: float
    lost_observed: int
    lost_proven: int | None
    positives_needed: int
    films_needed: int


class DriftRow(Frozen, frozen=True, kw_only=True):
    """One artifact against the dense reference on the same films; losses are reference minus artifact, in points (pt).

    Each model is judged at its own threshold, and both at the reference's in `at_reference_threshold`. `positives_needed`: how many would
    prove the limit if the loss went on as seen; null when the loss is not below it. `subgroups` stand worst first.
    """

    artifact: str
    recall: float | None
    recall_reference: float | None
    recall_loss_pt: float | None
    recall_loss_upper95_pt: float | None
    lost_positives: int
    gained_positives: int
    specificity_loss_pt: float | None
    accuracy_loss_pt: float | None
    roc_auc_loss: float | None
    mcnemar_p: float | None
    flips: tuple[Flip, ...]
    subgroups: Mapping[str, Subgroup]
    limit_pt: float
    mode: Mode
    verdict: Verdict
    reason: Mapping[str, str] = {}
    loss_p: float | None = None
    rates: Mapping[str, Rate] = {}
    shift: Shift | None = None
    at_reference_threshold: Outcome | None = None
    positives_needed: int | None = None
    checks: tuple[Check, ...] = ()


class CorruptionPoint(Frozen, frozen=True, kw_only=True):
    """Both models under one corruption at one severity; 0 are the films as they are."""

    severity: int
    roc_auc_reference: float | None
    roc_auc: float | None
    recall_reference: float | None
    recall: float | None


class CorruptionCurve(Frozen, frozen=True, kw_only=True):
    """How two models fall off as films get worse. `auc_area_pt` and `recall_area_pt`: the area between the curves, reference minus
    artifact, by trapezoids over severities 0 to 5 divided by 5: the mean loss in points that comes with the corruption. What is lost at
    severity 0 already is taken off both, so that an artifact that is worse from the start, but no faster, has 0."""

    artifact: str
    corruption: str
    points: tuple[CorruptionPoint, ...]
    auc_area_pt: float | None
    recall_area_pt: float | None


class Robustness(Frozen, frozen=True, kw_only=True):
    """Artifacts against the reference on corrupted films."""

    films: int
    positives: int
    curves: tuple[CorruptionCurve, ...]


class FormDrift(Frozen, frozen=True, kw_only=True):
    """One form against the films as they came: absolute differences of logits and of probabilities (0 to 1).

    `identical`: films whose decoded pixels are the same at full size; null where that was not looked at. `changed`: names of the films
    that are called differently, which no limit is set for: the nearest film to the threshold decides it. `reason` says what failed.
    """

    form: str
    films: int
    identical: int | None
    mean_logit: float
    largest_logit: float
    mean_probability: float
    largest_probability: float
    changed: tuple[str, ...]
    limit_mean_logit: float
    limit_largest_logit: float
    verdict: Verdict
    reason: str = ""


class DecodeDrift(Frozen, frozen=True, kw_only=True):
    """All forms by one artifact; the verdict is 'pass' when each one's is."""

    artifact: str
    films: int
    rows: tuple[FormDrift, ...]
    verdict: Verdict


class DriftReport(Frozen, frozen=True, kw_only=True):
    """All artifacts; the verdict is 'pass' when each one's is, and that of `decode` where that was asked for.

    `allowed`: what usual limits and the given one mean at this `n`. `skipped`: artifacts that do not run here. `copies`: films whose
    content was counted before, and of which. `absent`: films that the bundle was sealed with and that were not given. `notes`: sentences
    about a table of groups.
    """

    reference: str
    n: int
    rows: tuple[DriftRow, ...]
    verdict: Verdict
    synthetic: bool = False
    unusable: Mapping[str, str] = {}
    positives: int | None = None
    allowed: tuple[Allowance, ...] = ()
    skipped: Mapping[str, str] = {}
    copies: Mapping[str, str] = {}
    absent: int = 0
    notes: tuple[str, ...] = ()
    robustness: Robustness | None = None
    decode: DecodeDrift | None = None
