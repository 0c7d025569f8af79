"""Bias correction of int8 ONNX graphs (Nagel et al. 2019): rounding shifts the mean of what a layer gives; its bias takes that back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from toolkit.core.privacy import refuse_telemetry
from toolkit.core.target import AS_WRITTEN
from toolkit.imaging.decode import Pixels

if TYPE_CHECKING:
    import onnxruntime

LAYERS = ("Conv", "Gemm")
FILMS = 64
Means = Mapping[str, NDArray[np.float64]]


def layers_of(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Its convolutions and linear layers but for the heatmap's, in order."""
    return [node for node in model.graph.node if node.op_type in LAYERS and not node.name.startswith("heatmap")]


def correct_biases(graph: Path, rounded: onnx.ModelProto, images: Pixels) -> None:
    """Shift the biases of an int8 graph (in place) so that each layer gives, in the mean over films and places, what the float graph's
    gives: one layer after the other, since each changes what the next is given. Layers without a bias are left alone."""
    shown, model = images[:FILMS], onnx.load(graph)
    outputs = {node.name: node.output[0] for node in layers_of(model)}
    expected = _means(model, list(outputs.values()), shown)
    for node in layers_of(rounded):  # by the node's name: where a ReLU went into the rounding, its output has the ReLU's
        if len(node.input) > 2:
            found = _means(rounded, [node.output[0]], shown)[node.output[0]]
            _shift(rounded, node.input[2], expected[outputs[node.name]] - found)


def _means(model: onnx.ModelProto, names: Sequence[str], images: Pixels) -> Means:
    """Of each channel of these tensors, over all films and places."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = _session(exposed)
    sums: dict[str, NDArray[np.float64]] = {}
    for film in images:
        for name, values in zip(names, session.run(names, {"image": film[None]}), strict=True):
            sums[name] = sums.get(name, 0) + values.mean(axis=tuple(axis for axis in range(values.ndim) if axis != 1), dtype=np.float64)
    return {name: total / len(images) for name, total in sums.items()}


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    refuse_telemetry()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(*AS_WRITTEN)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _shift(model: onnx.ModelProto, bias: str, by: NDArray[np.float64]) -> None:
    """Add to a bias, which is a constant in float32, or in int32 behind a DequantizeLinear."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    if bias in constants:
        tensor, scale = constants[bias], np.float64(1)
    else:
        node = next(node for node in model.graph.node if bias in node.output)
        tensor, scale = constants[node.input[0]], numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
    values = numpy_helper.to_array(tensor)
    moved = values + by / scale
    rounded = np.round(moved) if values.dtype == np.int32 else moved
    tensor.CopyFrom(numpy_helper.from_array(rounded.astype(values.dtype), tensor.name))
