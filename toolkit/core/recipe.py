"""A recipe: everything that a run is made of, typed and frozen. Each stage gets its own Spec, never the whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from toolkit.core.codec import Frozen, decode, encode_json, to_plain
from toolkit.core.files import sha256_of_bytes
from toolkit.core.labels import Labels
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.target import ArtifactName, CpuBackend
from toolkit.errors import MissingDependencyError, RecipeError

if TYPE_CHECKING:
    from yaml import SafeLoader

EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
STAGES = ("train", "prune", "quantize", "export", "validate", "benchmark")

Count = Annotated[int, Meta(ge=1, le=10**9)]
Seed = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Ratio = Annotated[float, Meta(gt=0, lt=1)]
Positive = Annotated[float, Meta(gt=0, lt=1e6)]
Calibration = Literal["minmax", "entropy", "percentile"]
Rung = Literal["minmax", "entropy", "percentile", "bias_correction", "float_layers", "accuracy_control", "fine_tuning", "half_precision"]
Capability = Literal["7.5", "8.0", "8.6", "8.9", "12.0", "12.1"]
CropShare = Annotated[float, Meta(gt=0, le=2)]


class PhantomSpec(Frozen, frozen=True, kw_only=True):
    """Synthetic films, drawn when a run is given no data. Counts are patients; about one in seven has two films."""

    train_patients: Count = 520
    test_patients: Count = 170
    prevalence: Annotated[float, Meta(gt=0, lt=1)] = 0.6
    size_px: Annotated[int, Meta(ge=64, le=2048)] = 224
    seed: Seed = 7


class AugmentSpec(Frozen, frozen=True, kw_only=True):
    """Random changes of a film, for training drawn anew each time. Zero switches one off.

    Geometry: `shear_rad` and `rotate_deg` to either side; `zoom` by each axis alone, 1 - zoom to 1 + zoom; `shift` in shares of the
    edge; `aspect` a stretches one axis against the other by 1/(1+a) to 1+a; `crop` is the range of the share of the edge that is seen,
    at a random place. Tones: `gamma` and `contrast` g by 1/(1+g) to 1+g; `brightness` and `noise` (largest standard deviation) in
    shares of white; `blur_px` (largest standard deviation); `erase` is the chance that a rectangle becomes grey.
    """

    shear_rad: Annotated[float, Meta(ge=0, le=1)] = 0.0
    zoom: Share = 0.0
    flip: bool = False
    rotate_deg: Annotated[float, Meta(ge=0, le=180)] = 0.0
    shift: Share = 0.0
    aspect: Share = 0.0
    crop: tuple[CropShare, CropShare] = (1.0, 1.0)
    gamma: Share = 0.0
    contrast: Share = 0.0
    brightness: Share = 0.0
    blur_px: Annotated[float, Meta(ge=0, le=5)] = 0.0
    noise: Share = 0.0
    erase: Share = 0.0


class DataSpec(Frozen, frozen=True, kw_only=True):
    """Which films are held out of `train` to choose epochs and thresholds: the share `holdout` of the patients of each list.

    `holdout_rule` 'random' draws them; 'lowest' takes the lowest numbers of each list, which are nearest to the official test
    films; 'groups' holds out the lists named in `kept_away` (such as NORMAL2-IM or virus) whole, and the lowest of the other class;
    'conflict' takes every second of those whose films contradict the short cuts of the set most (data/shortcuts.py).
    `holdout_augment` changes each held-out film once, by one fixed draw: a shift on purpose, as a new hospital brings one.
    """

    holdout: Annotated[float, Meta(gt=0, lt=0.9)] = 0.12
    holdout_rule: Literal["random", "lowest", "groups", "conflict"] = "random"
    kept_away: tuple[str, ...] = ()
    holdout_augment: AugmentSpec = AugmentSpec()
    phantom: PhantomSpec | None = None


class OptimizerSpec(Frozen, frozen=True, kw_only=True):
    """torch's optimizers; `momentum` is SGD's and RMSprop's. `fan_in`: a layer with more inputs than this learns at a rate that is
    lower in proportion (Yang et al. 2022, for Adam): a flattened map of some ten thousand inputs would be thrown about by a rate that
    convolutions need."""

    name: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    weight_decay: Annotated[float, Meta(ge=0, lt=10)] = 0.0
    momentum: Share = 0.0
    fan_in: Count | None = None


class ScheduleSpec(Frozen, frozen=True, kw_only=True):
    """How the learning rate moves: 'plateau' multiplies it by `factor` after `patience_epochs` without a lower held-out loss;
    'one_cycle' and 'cosine' move at every batch and end near zero, the first with a warm-up over the share `warmup`."""

    name: Literal["plateau", "constant", "one_cycle", "cosine"] = "plateau"
    patience_epochs: Count = 3
    factor: Annotated[float, Meta(gt=0, lt=1)] = 0.3
    warmup: Annotated[float, Meta(gt=0, lt=1)] = 0.25


class OversampleSpec(Frozen, frozen=True, kw_only=True):
    """Copies of the rarer class until the other has `ratio` times as many films; `augment` changes the copies alone."""

    ratio: Annotated[float, Meta(ge=1, le=100)] = 1.2
    augment: AugmentSpec = AugmentSpec(rotate_deg=15, flip=True)


class DistillSpec(Frozen, frozen=True, kw_only=True):
    """Learn from a teacher's probabilities too (Hinton et al. 2015): `teacher` is the folder of its checkpoint, or of a sealed bundle that
    holds `onnxruntime-fp32`; `share` the teacher's part of the loss; `temperature` softens both sides."""

    teacher: str
    share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    temperature: Annotated[float, Meta(ge=1, le=20)] = 2.0


class TrainSpec(Frozen, frozen=True, kw_only=True):
    """How a network is trained.

    `weights`: 'random', 'imagenet' (downloaded), a file, or the folder of a checkpoint, which is trained on. `trainable`: the names of
    parts that learn, such as 'head'; empty means all. `balance`: 'class_weights' in the loss, 'oversample', or 'none'. `focal_gamma`:
    Lin et al. 2017, 0 is plain cross-entropy.
    `dropout_factor` multiplies every dropout rate of the architecture while training (up to .9): less for a network that learns too little.
    `average`: decay of an exponential moving average of the weights, null for none. `keep`: the epoch with the least held-out loss, or the
    last. `early_stopping_epochs`: null runs all epochs. `precision`: 'auto' is bf16 where this machine calculates in it, else fp32.
    `folds`: cross-validation by patient before the training proper, null for none.
    """

    model: str
    epochs: Count
    batch_size: Annotated[int, Meta(ge=2)] = 32
    weights: str = "random"
    trainable: tuple[str, ...] = ()
    learning_rate: Positive = 5e-5
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    balance: Literal["class_weights", "oversample", "none"] = "class_weights"
    oversample: OversampleSpec = OversampleSpec()
    label_smoothing: Share = 0.0
    focal_gamma: Annotated[float, Meta(ge=0, le=10)] = 0.0
    distill: DistillSpec | None = None
    augment: AugmentSpec = AugmentSpec()
    dropout_factor: Annotated[float, Meta(ge=0, le=2)] = 1.0
    average: Annotated[float, Meta(gt=0, lt=1)] | None = None
    keep: Literal["best", "last"] = "best"
    early_stopping_epochs: Count | None = 8
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    target_recall: Annotated[float, Meta(gt=0, le=1)] = 0.97
    folds: Annotated[int, Meta(ge=2, le=20)] | None = None


class TargetSpec(Frozen, frozen=True, kw_only=True):
    """How small a structured model becomes; exactly one of four. `ratio`: the share of the channels that goes. `macs`: multiply-accumulates
    of one film. `bytes`: the float ONNX graph. `latency_ms`: median of one film, of the exported candidate, in the runtime of `prune`."""

    latency_ms: Positive | None = None
    macs: Annotated[int, Meta(ge=1)] | None = None
    bytes: Annotated[int, Meta(ge=1)] | None = None
    ratio: Ratio | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.latency_ms, self.macs, self.bytes, self.ratio)) != 1:
            raise ValueError("expected exactly one of latency_ms, macs, bytes, ratio")


class RecoverySpec(Frozen, frozen=True, kw_only=True):
    """Fine-tuning after each step of pruning; what is not said here is as in `train`: augmentations, weight averaging, optimizer.

    The dense network teaches: `share` is its part of the loss, by probabilities softened at `temperature`; `features` weighs how far
    the last maps attend to other places than the dense network's (Zagoruyko and Komodakis 2017). `schedule` null is that of `train`.
    `batch_norm`: statistics are estimated anew on augmented train films, before and after. `epochs` 0: no fine-tuning.
    """

    epochs: Annotated[int, Meta(ge=0, le=10**6)] = 2
    learning_rate: Positive = 2e-5
    schedule: ScheduleSpec | None = None
    share: Annotated[float, Meta(ge=0, le=1)] = 0.5
    temperature: Annotated[float, Meta(ge=1, le=20)] = 2.0
    features: Annotated[float, Meta(ge=0, le=1000)] = 0.0
    batch_norm: bool = True


class SearchSpec(Frozen, frozen=True, kw_only=True):
    """Looks for the smallest structured model that keeps its recall on held-out patients.

    'bisection' walks one ratio of channels for all layers; 'optuna' chooses a ratio for each layer (Akiba et al. 2019). `epochs` of
    fine-tuning for each candidate; one that loses more than `max_recall_loss_pt` points of recall is dropped.
    """

    method: Literal["bisection", "optuna"] = "bisection"
    trials: Count = 8
    epochs: Annotated[int, Meta(ge=0, le=10**6)] = 1
    max_recall_loss_pt: Annotated[float, Meta(ge=0, le=100)] = 0.5
    low: Ratio = 0.1
    high: Ratio = 0.95

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError("expected low below high")


class PruneSpec(Frozen, frozen=True, kw_only=True):
    """What goes, in how many steps, and how the rest recovers after each.

    `method`: 'magnitude' and 'random' make the share `sparsity` of the weights zero, along the cubic schedule of Zhu and Gupta 2017 when
    there are several steps; 'n_m' leaves the n largest of m neighbours (`pattern`); 'structured' takes whole channels out, down to
    `target` or what `search` finds; 'none' leaves the network as it is. `scope`: the least important of the whole network, of each layer,
    or ('isomorphic', structured alone) of the layers of one kind. `importance` is that of channels. Channels that stay are rounded up to
    a multiple of `round_to`, and are `min_channels` at least. Latency is that of one film in `runtime` on `threads`; a structured
    network that is slower there than its parent is refused.
    """

    method: Literal["magnitude", "random", "n_m", "structured", "none"] = "magnitude"
    scope: Literal["global", "layer", "isomorphic"] = "global"
    sparsity: Ratio = 0.5
    pattern: tuple[Count, Count] = (2, 4)
    importance: Literal["l1", "l2", "bn_scale", "taylor", "hessian", "fpgm", "lamp", "random"] = "l2"
    target: TargetSpec | None = None
    round_to: Count = 8
    min_channels: Count = 8
    runtime: CpuBackend = "openvino"
    threads: Count = 2
    steps: Annotated[int, Meta(ge=1, le=100)] = 1
    recovery: RecoverySpec = RecoverySpec()
    search: SearchSpec | None = None

    def __post_init__(self) -> None:
        if self.method == "structured" and (self.target is None) == (self.search is None):
            raise ValueError("expected either 'target' or 'search' for the method 'structured'")
        if self.method != "structured" and (self.target is not None or self.search is not None or self.scope == "isomorphic"):
            raise ValueError("expected the method 'structured' for 'target', 'search' and the scope 'isomorphic'")
        if self.pattern[0] >= self.pattern[1]:
            raise ValueError("expected a pattern [n, m] with n below m, such as [2, 4]")


class FineTuningSpec(Frozen, frozen=True, kw_only=True):
    """Quantization-aware fine-tuning: the network learns with its weights and activations rounded to eight bits, taught by itself
    unrounded; what is not said here is as in `train`."""

    epochs: Count = 3
    learning_rate: Positive = 1e-4
    share: Annotated[float, Meta(gt=0, le=1)] = 0.8
    temperature: Annotated[float, Meta(ge=1, le=20)] = 2.0


class QuantizeSpec(Frozen, frozen=True, kw_only=True):
    """Static int8. Calibration films are drawn from the train split only, half of each class, and of each of its groups.

    `method` sets the ranges of activations; `bias_correction` takes back what rounding shifts (Nagel et al. 2019). An int8 graph that
    loses more than `max_recall_loss_pt` points of recall (at equal false alarms) or `max_roc_auc_loss` on held-out patients, against the
    float graph, or errs more than parity allows (`export.mean_logit_error_int8`), climbs the `ladder`, rung by rung, until it holds:
    another calibration; biases corrected, where they were not; up to `float_layers` of the worst layers kept float; accuracy control
    (OpenVINO); fine-tuning; half precision in place of int8. What a runtime does not offer is passed over.
    """

    calibration_films: Annotated[int, Meta(ge=2)] = 256
    method: Calibration = "minmax"
    bias_correction: bool = True
    max_recall_loss_pt: Annotated[float, Meta(ge=0, le=100)] = 0.5
    max_roc_auc_loss: Annotated[float, Meta(ge=0, le=1)] = 0.002
    ladder: tuple[Rung, ...] = ("percentile", "entropy", "bias_correction", "float_layers", "accuracy_control", "half_precision")
    float_layers: Count = 4
    fine_tuning: FineTuningSpec = FineTuningSpec()


class ExportSpec(Frozen, frozen=True, kw_only=True):
    """Which artifacts are made, and how far each may depart from torch on held-out films. `capabilities`: the GPUs that TensorRT-RTX
    engines are built for. `uncertain_errors`: outside the band of UNCERTAIN at most this share of the held-out pneumonias is missed, and
    at most this share of the held-out normals a false alarm; null makes no band."""

    artifacts: Annotated[tuple[ArtifactName, ...], Meta(min_length=1)] = (
        "onnxruntime-fp32",
        "onnxruntime-int8",
        "onnxruntime-int8-x86",
        "onnxruntime-int8-arm64",
        "openvino-fp32",
        "openvino-int8",
    )
    opset: Annotated[int, Meta(ge=18, le=21)] = 20
    parity_films: Count = 256
    max_logit_error_fp32: Positive = 1e-3
    max_logit_error_fp16w: Positive = 0.1
    mean_logit_error_fp16: Positive = 2e-2
    mean_logit_error_bf16: Positive = 0.1
    mean_logit_error_int8: Positive = 0.25
    capabilities: Annotated[tuple[Capability, ...], Meta(min_length=1)] = ("8.0", "8.6", "8.9", "12.0")
    uncertain_errors: Annotated[float, Meta(gt=0, lt=0.5)] | None = 0.01


class ValidateSpec(Frozen, frozen=True, kw_only=True):
    """The gate, in points of recall, and of specificity where that has a limit, against the dense reference.

    `corruption_films` of the test films are corrupted in each way and severity, to compare how the models fall off; 0 leaves that out.
    """

    max_recall_loss_pt: Annotated[float, Meta(ge=0, le=100)] = 1.0
    mode: Literal["observed", "proven"] = "observed"
    max_specificity_loss_pt: Annotated[float, Meta(ge=0, le=100)] | None = None
    corruption_films: Annotated[int, Meta(ge=0)] = 100


class BenchmarkSpec(Frozen, frozen=True, kw_only=True):
    """How each artifact is timed; of `rounds`, in which all have their turn, the fastest counts.

    `precision_pct`: after `runs`, go on until the 95 % interval of the median is narrower than this share of it, or `most_s` seconds
    are over; null makes exactly `runs`. `batches`: of the offline scenario. `cold_starts`: how often the whole command is started.
    `energy`: ask the machine's sensors, which costs a second a row.
    """

    rounds: Count = 1
    runs: Count = 200
    warmup: Count = 20
    threads: Annotated[tuple[Count, ...], Meta(min_length=1)] = (1, 2)
    batches: Annotated[tuple[Count, ...], Meta(min_length=1)] = (16,)
    precision_pct: Annotated[float, Meta(gt=0, le=100)] | None = None
    most_s: Annotated[float, Meta(gt=0)] = 30.0
    cold_starts: Annotated[int, Meta(ge=0)] = 0
    energy: bool = False


class RangeSpec(Frozen, frozen=True, kw_only=True):
    """Values that a sweep draws: from `low` to `high`, evenly, or evenly in their logarithm; whole numbers alone where `whole`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError("expected low below high, and above zero where log is true")


class SweepSpec(Frozen, frozen=True, kw_only=True):
    """Many runs of one recipe, each with other values; the best of them by size, latency and recall at once.

    `fields`: by a field's name, such as prune.target.bytes, the values that it takes, or a range. 'grid' takes every combination of
    values, with each of `seeds`; 'optuna' draws (TPE, Bergstra et al. 2011), `trials` runs in all, each combination with each seed.
    `storage`: null for a file in RUN; postgresql+psycopg://HOST/DATABASE lets commands on many machines work on one study (the password
    from PGPASSWORD or ~/.pgpass). `cores`: of each run. Recall is that on held-out patients at this `specificity`. A run is given up after
    'train' or 'prune' when its AUC on held-out patients lies more than `hopeless_auc` below the best so far; null never gives up.
    """

    fields: Mapping[str, tuple[Any, ...] | RangeSpec]
    seeds: Annotated[tuple[Seed, ...], Meta(min_length=1)] = (1,)
    method: Literal["grid", "optuna"] = "grid"
    trials: Count = 30
    storage: str | None = None
    cores: Count = 1
    specificity: Ratio = 0.9
    hopeless_auc: Annotated[float, Meta(gt=0, lt=1)] | None = None

    def __post_init__(self) -> None:
        if not self.fields or not all(isinstance(values, RangeSpec) or values for values in self.fields.values()):
            raise ValueError("expected at least one field, each with a value or a range")
        if self.method == "grid" and any(isinstance(values, RangeSpec) for values in self.fields.values()):
            raise ValueError("expected lists of values for the method 'grid'; a range is for 'optuna'")


class Recipe(Frozen, frozen=True, kw_only=True):
    """The whole flow, in the order of its stages; and, where `sweep` is given, what differs between many runs of it."""

    name: str
    attribution: str = ""
    seed: Seed = 1
    labels: Labels = Labels()
    preprocessing: Preprocessing = Preprocessing()
    data: DataSpec = DataSpec()
    train: TrainSpec
    prune: PruneSpec = PruneSpec()
    quantize: QuantizeSpec = QuantizeSpec()
    export: ExportSpec = ExportSpec()
    validate: ValidateSpec = ValidateSpec()
    benchmark: BenchmarkSpec = BenchmarkSpec()
    sweep: SweepSpec | None = None

    def sha256_through(self, stage: str) -> str:
        """Digest of all that a stage's result depends on: the common values and the Specs of the stages up to it.

        `quantize` looks one ahead: `export` names the opset and the artifacts that need an int8 graph.
        """
        common = (self.seed, self.labels, self.preprocessing, self.data)
        last = STAGES.index("export" if stage == "quantize" else stage)
        return sha256_of_bytes(encode_json((common, [getattr(self, name) for name in STAGES[: last + 1]])))


def read_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a YAML recipe and apply overrides of the form 'train.epochs=3'.

    Raises RecipeError for a missing file, a file that is no mapping, an unknown key (the valid ones are listed),
    a wrong type or a value out of range.
    """
    if not path.is_file():
        raise RecipeError(f"No recipe at {path}; give a YAML file such as recipes/demo.yaml.")
    data = parse_yaml(path.read_bytes(), str(path))
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: found {type(data).__name__}, expected keys such as 'name' and 'train'.")
    for override in overrides:
        _apply(data, override)
    return decode(data, Recipe, str(path), RecipeError)


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values by their dotted names, and without its sweep; raises RecipeError for one that does not fit."""
    data = {**to_plain(recipe), "sweep": None}
    for name, value in values.items():
        keys = name.split(".")
        place = _below(data, keys, f"sweep.fields: '{name}'")
        place[keys[-1]] = value
    return decode(data, Recipe, f"{recipe.name} with {', '.join(values)}", RecipeError)


def _apply(data: dict[str, Any], override: str) -> None:
    dotted, sign, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not sign or not all(keys):
        raise RecipeError(f"--set {override}: expected KEY=VALUE such as train.epochs=3.")
    _below(data, keys, f"--set {override}")[keys[-1]] = parse_yaml(text, f"--set {override}")


def _below(data: dict[str, Any], keys: list[str], where: str) -> dict[str, Any]:
    """The mapping that holds the last of `keys`."""
    for key in keys[:-1]:
        below = data.get(key)
        if below is None:
            below = data[key] = {}
        if not isinstance(below, dict):
            raise RecipeError(f"{where}: '{key}' is a single value, it has no keys below it.")
        data = below
    return data


def parse_yaml(text: str | bytes, where: str) -> Any:
    """Plain dicts and lists of YAML; raises RecipeError for what is none, MissingDependencyError without PyYAML."""
    try:
        import yaml
    except ImportError as cause:
        raise MissingDependencyError("PyYAML", "workshop", "Reading YAML") from cause
    try:
        loader = yaml.SafeLoader(text)
        _take_exponents_for_numbers(loader)
        return loader.get_single_data()
    except (yaml.YAMLError, ValueError) as cause:  # ValueError: something that looks like a date and is none
        raise RecipeError(f"{where} is not valid YAML: {cause}") from cause


def _take_exponents_for_numbers(loader: SafeLoader) -> None:
    """YAML 1.1 takes 1e-4, unlike 1.0e-4, for text; here, and for this loader alone, it is a number."""
    loader.yaml_implicit_resolvers = {first: [*forms] for first, forms in loader.yaml_implicit_resolvers.items()}
    for first in "+-0123456789":
        loader.yaml_implicit_resolvers.setdefault(first, []).append(("tag:yaml.org,2002:float", EXPONENT))
