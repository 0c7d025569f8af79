"""Static int8 for ONNX Runtime on x86 with VNNI: activations U8, weights S8 per channel, as QDQ pairs."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolkit.core.progress import track
from toolkit.core.recipe import QuantizeSpec
from toolkit.errors import MissingDependencyError
from toolkit.imaging.decode import Pixels

if TYPE_CHECKING:
    import onnx

REQUIRES = "workshop"


def quantize(graph: Path, images: Pixels, spec: QuantizeSpec, out: Path) -> tuple[Path, ...]:
    """Write the int8 form of a float ONNX graph as `out` and give it; `images` uint8 `[N, 1, H, W]` calibrate it."""
    try:
        import onnx
        from onnxruntime import quantization as ort
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as cause:
        raise MissingDependencyError("onnx", REQUIRES, "Quantizing for ONNX Runtime") from cause

    class Reader(ort.CalibrationDataReader):  # type: ignore[misc]
        """Hands over one film at a time."""

        def __init__(self) -> None:
            self.films: Iterator[np.ndarray] = track(images, len(images), "calibrate onnxruntime-int8")

        def get_next(self) -> dict[str, np.ndarray] | None:
            film = next(self.films, None)
            return None if film is None else {"image": film[None]}

    methods = {
        "minmax": ort.CalibrationMethod.MinMax,
        "entropy": ort.CalibrationMethod.Entropy,
        "percentile": ort.CalibrationMethod.Percentile,
    }
    with tempfile.TemporaryDirectory() as folder, _without_advice():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(graph), str(prepared))
        ort.quantize_static(
            str(prepared),
            str(out),
            Reader(),
            quant_format=ort.QuantFormat.QDQ,
            per_channel=True,
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
            calibrate_method=methods[spec.method],
            nodes_to_exclude=_before_first_convolution(onnx.load(prepared)),
        )
    return (out,)


def _before_first_convolution(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that bring grey values into the network's scale: they are cheap, and eight bits for a variance are too few."""
    kinds = [node.op_type for node in model.graph.node]
    return [node.name for node in model.graph.node[: kinds.index("Conv")]]


class _without_advice:  # noqa: N801  a context manager
    """onnxruntime's quantizer warns on the root logger of things that were done already."""

    def __enter__(self) -> None:
        self.level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().setLevel(self.level)
