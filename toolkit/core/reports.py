"""What the judging stages give: evaluation, drift, latency, prediction. JSON keys are promised to scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from toolkit.core.codec import Frozen
from toolkit.core.latency import LatencyReport
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


class DeviceReport(Frozen, frozen=True, kw_only=True):
    """What one device gave back. `taken`: when it was measured, ISO 8601 in UTC, by its own clock. `scores`: by artifact, the
    probability of each film by the film's sha256; `drift` is judged from them, where the reference scores are. `problems`: sentences.
    """

    device: str
    taken: str
    bundle: str
    bundle_sha256: str
    latency: LatencyReport
    scores: Mapping[str, Mapping[str, float]] = {}
    unusable: Mapping[str, str] = {}
    drift: DriftReport | None = None
    problems: tuple[str, ...] = ()


class PruneStep(Frozen, frozen=True, kw_only=True):
    """A network after one step of pruning and its recovery. `macs` of one film, `bytes` of its float ONNX graph; the rates on held-out
    patients, at the operating point that was chosen anew."""

    sparsity: float
    parameters: int
    macs: int
    bytes: int
    epochs: int
    threshold: float
    temperature: float
    recall: float | None
    specificity: float | None
    roc_auc: float | None


class Candidate(Frozen, frozen=True, kw_only=True):
    """A structured network that a search tried. `kept`: channels that stay, by layer; `p50_ms` of one film in the recipe's runtime.

    `recall_loss_pt` is what it misses more than the dense network on held-out patients when it is allowed no more false alarms.
    `pareto`: it passed, and none that passed is better in size, latency and recall at once.
    """

    kept: Mapping[str, int]
    bytes: int
    p50_ms: float
    recall_loss_pt: float
    roc_auc_loss: float
    passed: bool
    pareto: bool = False


class Benefit(Frozen, frozen=True, kw_only=True):
    """What pruning brought in one runtime, float ONNX graphs, one film at a time, both networks measured in turns.

    `compressed_bytes`: by DEFLATE, as in a zip file. `faster_rounds` of `rounds` were won by the pruned network.
    """

    runtime: str
    threads: int
    bytes_dense: int
    bytes: int
    compressed_bytes_dense: int
    compressed_bytes: int
    p50_ms_dense: float
    p50_ms: float
    rounds: int
    faster_rounds: int


class PruneReport(Frozen, frozen=True, kw_only=True):
    """`prune.json`. `left_dense`: layers whose channels cannot be taken out, or whose weights do not fit the pattern."""

    method: str
    steps: tuple[PruneStep, ...]
    benefits: tuple[Benefit, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    left_dense: tuple[str, ...] = ()


class QuantizeAttempt(Frozen, frozen=True, kw_only=True):
    """One int8 graph of a ladder, against the float graph on held-out patients. `rung` 'start' is the recipe's own calibration.

    `recall_loss_pt` at equal false alarms; `mean_logit_error` relative beyond 1, as in parity. `chosen`: the one that was kept.
    """

    artifact: str
    rung: str
    calibration: str
    bias_correction: bool
    float_layers: tuple[str, ...]
    bytes: int
    mean_logit_error: float
    recall_loss_pt: float
    roc_auc_loss: float
    passed: bool
    chosen: bool = False


class QuantizeReport(Frozen, frozen=True, kw_only=True):
    """`quantize.json`. `replaced`: int8 artifacts that no rung could save, and what stands in for them."""

    attempts: tuple[QuantizeAttempt, ...] = ()
    replaced: Mapping[str, str] = {}


class Sensitivity(Frozen, frozen=True, kw_only=True):
    """One layer pruned alone, without fine-tuning: what held-out patients say. `kept`: its channels, or its weights, that stay."""

    layer: str
    ratio: float
    kept: int
    roc_auc_loss: float
    recall_loss_pt: float


class Prediction(Frozen, frozen=True, kw_only=True):
    """What is said of one film. `label` is the side of the threshold that it falls on; `decision` is the label, or UNCERTAIN inside the
    artifact's band. A file that cannot be used, or a picture that is no usable frontal chest film, is REJECTED: `error` says why, label and
    probability are null. `ms`: decoding and inference. `bundle_sha256`: of the bundle's manifest. `heatmap` and
    `secondary_capture`: where they were written.
    """

    path: str
    label: str | None
    probability: float | None
    threshold: float
    decision: str
    artifact: str
    ms: float
    error: str | None = None
    bundle_sha256: str = ""
    heatmap: str | None = None
    secondary_capture: str | None = None


class RunReport(Frozen, frozen=True, kw_only=True):
    """All that a run of `compress` found; `report.html` is drawn from it.

    `films` counts the films of each split by class; `history` holds the rows of each stage that trained.
    """

    name: str
    model: str
    synthetic: bool
    data: str
    films: Mapping[str, Mapping[str, int]]
    sparsity: float
    reference: Evaluation
    evaluations: tuple[Evaluation, ...]
    drift: DriftReport
    latency: LatencyReport
    parity: Mapping[str, Any]
    recommended: tuple[str, ...]
    history: Mapping[str, tuple[Mapping[str, float], ...]]
    recipe: Mapping[str, Any]
    bundle_bytes: int
    bundle_sha256: str
    cross_validation: CrossValidation | None = None
    pruning: PruneReport | None = None
    quantizing: QuantizeReport | None = None
    unmeasured: Mapping[str, str] = {}
    left_out: Mapping[str, str] = {}


Judged = Literal["device", "sealed", "nowhere"]


class TargetPoint(Frozen, frozen=True, kw_only=True):
    """One artifact on one target, one film at a time, with the thread count that was fastest there. Times are null where it was not timed.

    `judged`: whose verdict and losses stand here: of films that the device itself scored, or of those that the bundle was sealed with.
    `usable`: it was timed and no verdict speaks against it; if not, `reason` says why. `pareto`: of the usable ones none is better in
    latency (`p50_ms`, model alone), bytes and recall loss at once.
    """

    artifact: str
    bytes: int
    threads: int | None
    p50_ms: float | None
    end_to_end_p50_ms: float | None
    disturbed: str
    verdict: Verdict | None
    judged: Judged
    recall_loss_pt: float | None
    recall_loss_upper95_pt: float | None
    usable: bool
    reason: str = ""
    pareto: bool = False


class ComparedTarget(Frozen, frozen=True, kw_only=True):
    """One machine of a comparison; `name` is that of its files. `line` says in words what to use there, `artifact` is null where nothing
    can be used. `taken` is empty where the file does not tell. The times of an `emulator` mean nothing and are not compared."""

    name: str
    device: str
    taken: str
    processor: str
    emulator: str | None
    line: str
    artifact: str | None
    points: tuple[TargetPoint, ...]
    problems: tuple[str, ...] = ()


class TargetComparison(Frozen, frozen=True, kw_only=True):
    """All machines that a bundle was measured on, the one that made it first. `left_out`: files that are not shown, and why."""

    bundle: str
    bundle_sha256: str
    synthetic: bool
    targets: tuple[ComparedTarget, ...]
    left_out: Mapping[str, str] = {}
