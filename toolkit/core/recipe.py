"""A recipe: everything that a run is made of, typed and frozen. Each stage gets its own Spec, never the whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from toolkit.core.codec import Frozen, decode, encode_json
from toolkit.core.files import sha256_of_bytes
from toolkit.core.labels import Labels
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.target import ArtifactName
from toolkit.errors import MissingDependencyError, RecipeError

if TYPE_CHECKING:
    from yaml import SafeLoader

EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
STAGES = ("train", "prune", "quantize", "export", "validate", "benchmark")

Count = Annotated[int, Meta(ge=1, le=10**9)]
Seed = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Positive = Annotated[float, Meta(gt=0, lt=1e6)]


class PhantomSpec(Frozen, frozen=True, kw_only=True):
    """Synthetic films, drawn when a run is given no data. Counts are patients; about one in seven has two films."""

    train_patients: Count = 520
    test_patients: Count = 170
    prevalence: Annotated[float, Meta(gt=0, lt=1)] = 0.6
    size_px: Annotated[int, Meta(ge=64, le=2048)] = 224
    seed: Seed = 7


class DataSpec(Frozen, frozen=True, kw_only=True):
    """Which films are held out of `train` to choose epochs and thresholds."""

    holdout: Annotated[float, Meta(gt=0, lt=0.9)] = 0.12
    phantom: PhantomSpec | None = None


class AugmentSpec(Frozen, frozen=True, kw_only=True):
    """Random changes of a training film, drawn anew each time. Zero switches one off."""

    shear_rad: Annotated[float, Meta(ge=0, le=1)] = 0.0
    zoom: Share = 0.0
    flip: bool = False


class TrainSpec(Frozen, frozen=True, kw_only=True):
    """How a network is trained."""

    model: str
    epochs: Count
    batch_size: Annotated[int, Meta(ge=2)] = 32
    learning_rate: Positive = 5e-5
    class_weights: Literal["balanced", "none"] = "balanced"
    augment: AugmentSpec = AugmentSpec()
    early_stopping_epochs: Count = 8
    plateau_epochs: Count = 3
    plateau_factor: Annotated[float, Meta(gt=0, lt=1)] = 0.3
    precision: Literal["fp32", "bf16"] = "fp32"
    target_recall: Annotated[float, Meta(gt=0, le=1)] = 0.97


class PruneSpec(Frozen, frozen=True, kw_only=True):
    """Which share of the weights becomes zero, and how long the rest may recover."""

    method: Literal["magnitude"] = "magnitude"
    sparsity: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    epochs: Count = 2
    learning_rate: Positive = 2e-5


class QuantizeSpec(Frozen, frozen=True, kw_only=True):
    """Static int8: calibration films are drawn from the train split only, half of each class."""

    calibration_films: Annotated[int, Meta(ge=2)] = 256
    method: Literal["minmax", "entropy", "percentile"] = "minmax"


class ExportSpec(Frozen, frozen=True, kw_only=True):
    """Which artifacts are made, and how far each may depart from torch on held-out films."""

    artifacts: Annotated[tuple[ArtifactName, ...], Meta(min_length=1)] = (
        "onnxruntime-fp32",
        "onnxruntime-int8",
        "openvino-fp32",
        "openvino-int8",
    )
    opset: Annotated[int, Meta(ge=18, le=21)] = 20
    parity_films: Count = 256
    max_logit_error_fp32: Positive = 1e-3
    max_logit_error_fp16w: Positive = 2e-2
    mean_logit_error_int8: Positive = 0.25


class ValidateSpec(Frozen, frozen=True, kw_only=True):
    """The recall gate, in points of recall against the dense reference."""

    max_recall_loss_pt: Annotated[float, Meta(ge=0, le=100)] = 1.0
    mode: Literal["observed", "proven"] = "observed"


class BenchmarkSpec(Frozen, frozen=True, kw_only=True):
    """How often each artifact is timed."""

    runs: Count = 200
    warmup: Count = 20
    threads: Annotated[tuple[Count, ...], Meta(min_length=1)] = (1, 2)


class Recipe(Frozen, frozen=True, kw_only=True):
    """The whole flow, in the order of its stages."""

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
    data = _parse(path.read_bytes(), str(path))
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: found {type(data).__name__}, expected keys such as 'name' and 'train'.")
    for override in overrides:
        _apply(data, override)
    return decode(data, Recipe, str(path), RecipeError)


def _apply(data: dict[str, Any], override: str) -> None:
    dotted, sign, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not sign or not all(keys):
        raise RecipeError(f"--set {override}: expected KEY=VALUE such as train.epochs=3.")
    for key in keys[:-1]:
        below = data.get(key)
        if below is None:
            below = data[key] = {}
        if not isinstance(below, dict):
            raise RecipeError(f"--set {override}: '{key}' is a single value, it has no keys below it.")
        data = below
    data[keys[-1]] = _parse(text, f"--set {override}")


def _parse(text: str | bytes, where: str) -> Any:
    try:
        import yaml
    except ImportError as cause:
        raise MissingDependencyError("PyYAML", "workshop", "Reading a recipe") from cause
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
