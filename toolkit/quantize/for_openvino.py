"""Static int8 for OpenVINO by NNCF: the model is read from the float ONNX graph and written as IR."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolkit.core.files import write_atomically
from toolkit.core.metrics import LabelArray, roc_auc
from toolkit.core.privacy import refuse_telemetry
from toolkit.core.progress import track
from toolkit.core.recipe import Calibration, Rung
from toolkit.errors import MissingDependencyError, StorageError
from toolkit.imaging.decode import Pixels
from toolkit.quantize.ir_rewrites import is_heatmap, make_smaller, without_read_shapes, without_spaces
from toolkit.quantize.ladder import Settings

if TYPE_CHECKING:
    import nncf
    import openvino

REQUIRES = "workshop"
RUNGS: tuple[Rung, ...] = (
    "minmax",
    "entropy",
    "percentile",
    "bias_correction",
    "float_layers",
    "accuracy_control",
    "fine_tuning",
    "half_precision",
)
LAYERS = ("Convolution", "GroupConvolution", "MatMul")
RANGES: dict[Calibration, str] = {"minmax": "MINMAX", "entropy": "HISTOGRAM", "percentile": "MEAN_QUANTILE"}  # NNCF's names


@dataclass(frozen=True)
class Control:
    """What an accuracy control watches: the AUC on these films, uint8 `[N, 1, H, W]` and 0 or 1 `[N]`, may fall by `max_loss`."""

    images: Pixels
    labels: LabelArray
    max_loss: float

    def measure(self, model: Any, _films: Iterable[Any]) -> tuple[float, list[list[NDArray[np.float32]]]]:
        """AUC, and each film's logit."""
        logits = [np.array(model([film[None]])[0]) for film in self.images]
        return roc_auc(self.labels, np.concatenate(logits)) or 0.0, [[logit] for logit in logits]


def quantize(images: Pixels, settings: Settings, out: Path, control: Control | None = None) -> tuple[Path, ...]:
    """Write the int8 form of a float ONNX graph as `out` (.xml) with its .bin beside it, and give both.

    `images` uint8 `[N, 1, H, W]` calibrate it. With `settings.accuracy_control`, operations go back to float until `control` holds.
    `settings.bias_correction` is the slow one, layer after layer; without it NNCF corrects all biases at once.
    """
    refuse_telemetry()
    try:
        import nncf
        import openvino
    except ImportError as cause:
        raise MissingDependencyError("nncf", REQUIRES, "Quantizing for OpenVINO") from cause
    nncf.set_log_level(logging.ERROR)
    model = openvino.convert_model(str(settings.graph))
    films = track(images, len(images), f"calibrate {out.stem}")
    dataset = nncf.Dataset([{"image": film[None]} for film in films])
    given = {
        "subset_size": len(images),
        "ignored_scope": nncf.IgnoredScope(names=_float_operations(model, settings), validate=False),
        "fast_bias_correction": not settings.bias_correction,
    }
    with contextlib.redirect_stdout(io.StringIO()):  # NNCF's own bars: standard output belongs to results
        if settings.accuracy_control and control is not None:
            advanced: dict[str, Any] = {"advanced_quantization_parameters": _ranges(settings)}
            quantized = nncf.quantize_with_accuracy_control(
                model, dataset, dataset, control.measure, max_drop=control.max_loss, **given, **advanced
            )
        else:
            quantized = nncf.quantize(model, dataset, advanced_parameters=_ranges(settings), **given)
    make_smaller(quantized)
    write(quantized, out)
    return out, out.with_suffix(".bin")


def layer_names(graph: Path) -> list[str]:
    """The convolutions and linear layers, in the order of `Settings.float_layers`."""
    refuse_telemetry()
    import openvino

    return [operation.get_friendly_name() for operation in _layers(openvino.Core().read_model(str(graph)))]


def _layers(model: openvino.Model) -> list[openvino.Node]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() in LAYERS and not is_heatmap(node)]


def _ranges(settings: Settings) -> nncf.AdvancedQuantizationParameters:
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    estimator = getattr(RangeEstimatorParametersSet, RANGES[settings.calibration])
    return nncf.AdvancedQuantizationParameters(activations_range_estimator_params=estimator)


def _float_operations(model: openvino.Model, settings: Settings) -> list[str]:
    """Names of the operations that stay in single precision: those that bring grey values into the network's scale, the heatmap's, the
    layers that the settings name, and maximum pooling, which OpenVINO does six times as fast before it rounds as behind it."""
    operations = model.get_ordered_ops()
    kinds = [operation.get_type_name() for operation in operations]
    layers = _layers(model)
    kept = [
        *(
            operation
            for operation in operations[: kinds.index("Convolution")]
            if operation.get_type_name() not in ("Parameter", "Constant")
        ),
        *(operation for operation in operations if is_heatmap(operation) or operation.get_type_name() == "MaxPool"),
        *(layers[place] for place in settings.float_layers),
    ]
    return [operation.get_friendly_name() for operation in kept]


def write(model: openvino.Model, out: Path) -> None:
    """As IR, whole or not at all, its weights beside it."""
    import openvino

    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as folder:
        description = Path(folder) / out.name
        try:
            openvino.save_model(model, str(description), compress_to_fp16=False)
        except RuntimeError as cause:  # what OpenVINO makes of a full disk
            raise StorageError(f"Cannot write {description}: {cause}; free some space there, or set TMPDIR to another place.") from cause
        write_atomically(out.with_suffix(".bin"), description.with_suffix(".bin").read_bytes())
        write_atomically(out, without_read_shapes(without_spaces(description.read_bytes())))
