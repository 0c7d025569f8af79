"""What the stages of a run leave, and the whole run's report. JSON keys are promised to scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from toolkit.core.codec import Frozen
from toolkit.core.drift import DriftReport
from toolkit.core.evaluation import CrossValidation, Evaluation, Verdict
from toolkit.core.latency import LatencyReport


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
