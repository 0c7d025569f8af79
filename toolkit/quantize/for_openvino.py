"""Static int8 for OpenVINO by NNCF: the model is read from the float ONNX graph and written as IR."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.core.privacy import refuse_telemetry
from toolkit.core.progress import track
from toolkit.core.recipe import QuantizeSpec
from toolkit.errors import MissingDependencyError
from toolkit.imaging.decode import Pixels

if TYPE_CHECKING:
    import openvino

REQUIRES = "workshop"


def quantize(graph: Path, images: Pixels, _spec: QuantizeSpec, out: Path) -> tuple[Path, ...]:
    """Write the int8 form of a float ONNX graph as `out` (.xml) with its .bin beside it, and give both.

    `images` uint8 `[N, 1, H, W]` calibrate it. NNCF chooses its ranges by its own statistics; `method` is for ONNX Runtime.
    """
    refuse_telemetry()
    try:
        import nncf
        import openvino
    except ImportError as cause:
        raise MissingDependencyError("nncf", REQUIRES, "Quantizing for OpenVINO") from cause
    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(str(graph))
    scope = nncf.IgnoredScope(names=_float_operations(model), validate=False)
    films = track(images, len(images), "calibrate openvino-int8")
    dataset = nncf.Dataset([{"image": film[None]} for film in films])
    with contextlib.redirect_stdout(io.StringIO()):  # NNCF's own bars: standard output belongs to results
        quantized = nncf.quantize(model, dataset, subset_size=len(images), ignored_scope=scope)
    _name_by_position(quantized)
    openvino.save_model(quantized, str(out), compress_to_fp16=False)
    return out, out.with_suffix(".bin")


def _float_operations(model: openvino.Model) -> list[str]:
    """Names of the operations that stay in single precision: those that bring grey values into the network's scale, and the heatmap's."""
    operations = model.get_ordered_ops()
    kinds = [operation.get_type_name() for operation in operations]
    before = operations[: kinds.index("Convolution")]
    names = [operation.get_friendly_name() for operation in before if operation.get_type_name() not in ("Parameter", "Constant")]
    return names + [operation.get_friendly_name() for operation in operations if _is_heatmap(operation)]


def _is_heatmap(operation: openvino.Node) -> bool:
    return bool(operation.get_friendly_name().startswith("heatmap"))


def _name_by_position(model: openvino.Model) -> None:
    """Names made from a counter of the process would differ from run to run; positions do not."""
    for position, node in enumerate(model.get_ordered_ops()):
        if node.get_type_name() not in ("Parameter", "Result") and not _is_heatmap(node):
            node.set_friendly_name(f"{node.get_type_name()}_{position}")
