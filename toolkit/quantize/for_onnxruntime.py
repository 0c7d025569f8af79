"""Static int8 as an ONNX graph: QDQ pairs, weights signed and per channel, in a form for each kind of processor, and one for TensorRT."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolkit.core.files import write_atomically
from toolkit.core.privacy import refuse_telemetry
from toolkit.core.progress import track
from toolkit.core.recipe import Rung
from toolkit.core.target import Family
from toolkit.errors import MissingDependencyError
from toolkit.imaging.decode import Pixels
from toolkit.quantize.ladder import Settings

if TYPE_CHECKING:
    import onnx

REQUIRES = "workshop"
RUNGS: tuple[Rung, ...] = ("minmax", "entropy", "percentile", "bias_correction", "float_layers", "fine_tuning", "half_precision")


@dataclass(frozen=True)
class Form:
    """What a runtime's kernels want: the type of the activations, weights of seven bits, options of onnxruntime's quantizer."""

    activations: str
    reduce_range: bool = False
    options: Mapping[str, bool] = field(default_factory=dict)


FORMS: dict[Family | None, Form] = {
    "x86-vnni": Form("QUInt8"),
    "x86": Form("QUInt8", reduce_range=True),
    "arm64": Form("QInt8"),
    None: Form("QInt8", options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}),
}
"""By a Target's family; None is TensorRT, which takes zero points of 0 and biases in single precision."""


def quantize(images: Pixels, settings: Settings, out: Path, form: Form = FORMS["x86-vnni"]) -> tuple[Path, ...]:
    """Write the int8 form of a float ONNX graph as `out` and give it; `images` uint8 `[N, 1, H, W]` calibrate it.

    What comes before the first convolution, the heatmap and the layers that the settings name stay float. Raises MissingDependencyError.
    """
    try:
        import onnx

        refuse_telemetry()
        from onnxruntime import quantization as ort
        from onnxruntime.quantization.shape_inference import quant_pre_process

        from toolkit.quantize.bias import correct_biases
    except ImportError as cause:
        raise MissingDependencyError("onnx", REQUIRES, "Quantizing for ONNX Runtime") from cause

    class Reader(ort.CalibrationDataReader):  # type: ignore[misc]
        """Hands over one film at a time."""

        def __init__(self) -> None:
            self.films: Iterator[np.ndarray] = track(images, len(images), f"calibrate {out.stem}")

        def get_next(self) -> dict[str, np.ndarray] | None:
            film = next(self.films, None)
            return None if film is None else {"image": film[None]}

    methods = {
        "minmax": ort.CalibrationMethod.MinMax,
        "entropy": ort.CalibrationMethod.Entropy,
        "percentile": ort.CalibrationMethod.Percentile,
    }
    printed = contextlib.redirect_stdout(io.StringIO())  # standard output belongs to results
    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as folder, _without_advice(), printed:
        prepared, rounded = Path(folder) / "prepared.onnx", Path(folder) / "rounded.onnx"
        quant_pre_process(str(settings.graph), str(prepared))
        ort.quantize_static(
            str(prepared),
            str(rounded),
            Reader(),
            quant_format=ort.QuantFormat.QDQ,
            per_channel=True,
            activation_type=ort.QuantType[form.activations],
            weight_type=ort.QuantType.QInt8,
            reduce_range=form.reduce_range,
            calibrate_method=methods[settings.calibration],
            nodes_to_exclude=_float_nodes(onnx.load(prepared), settings),
            extra_options=dict(form.options),
        )
        model = onnx.load(rounded)
        if settings.bias_correction:
            correct_biases(settings.graph, model, images)
        write_atomically(out, model.SerializeToString(deterministic=True))
    return (out,)


def layer_names(graph: Path) -> list[str]:
    """The convolutions and linear layers, in the order of `Settings.float_layers`."""
    import onnx

    from toolkit.quantize.bias import layers_of

    return [node.name for node in layers_of(onnx.load(graph))]


def _float_nodes(model: onnx.ModelProto, settings: Settings) -> list[str]:
    """Names of the nodes that stay float: those that bring grey values into the network's scale, which are cheap, and eight bits for a
    variance are too few; those of the heatmap, and of the settings."""
    from toolkit.quantize.bias import layers_of

    nodes, layers = model.graph.node, layers_of(model)
    before = nodes[: [node.op_type for node in nodes].index("Conv")]
    heatmap = [node for node in nodes if node.name.startswith("heatmap")]
    return [node.name for node in (*before, *heatmap, *(layers[place] for place in settings.float_layers))]


class _without_advice:  # noqa: N801  a context manager
    """onnxruntime's quantizer warns on the root logger of things that were done already."""

    def __enter__(self) -> None:
        self.level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().setLevel(self.level)
