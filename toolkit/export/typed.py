"""The strongly typed graph that TensorRT builds from: every tensor says its own precision, and the builder has no say in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.core.privacy import refuse_telemetry
from toolkit.core.target import Precision
from toolkit.errors import MissingDependencyError, ModelError

if TYPE_CHECKING:
    import onnx

REQUIRES = "workshop"


def typed(graph: Path, precision: Precision) -> bytes:
    """The graph for a precision: 'fp16' calculates in half precision behind the first convolution's input, any other is the file as it is.

    Input `image` stays uint8, outputs stay float32. What brings grey values into the network's scale stays float32 too: a film's mean and
    variance are sums beyond half precision. Weights beyond its range are clipped. The conversion is onnxruntime's. Raises ModelError for a
    graph without a convolution, MissingDependencyError.
    """
    if precision != "fp16":
        return graph.read_bytes()
    try:
        import onnx
        import onnx_ir as ir

        refuse_telemetry()
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as cause:
        raise MissingDependencyError("onnx", REQUIRES, "Making a graph of half precision") from cause
    model = onnx.shape_inference.infer_shapes(onnx.load(graph))
    front = _before_first_convolution(model, graph)
    _forget_types_within(model, front)
    halved = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True, node_block_list=sorted(front))
    ordered = ir.from_proto(halved)
    ordered.graph.sort()  # the converter puts its casts at the end
    result = ir.to_proto(ordered)
    result.graph.ClearField("value_info")  # they name tensors that are gone
    onnx.checker.check_model(result, full_check=True)
    return bytes(result.SerializeToString(deterministic=True))


def _before_first_convolution(model: onnx.ModelProto, graph: Path) -> set[str]:
    """Names of the nodes whose values reach the network through its first convolution."""
    makers = {output: node for node in model.graph.node for output in node.output}
    first = next((node for node in model.graph.node if node.op_type == "Conv"), None)
    if first is None:
        raise ModelError(f"{graph} has no convolution; half precision begins at the first one.")
    front, open_ = set(), [first.input[0]]
    while open_:
        maker = makers.get(open_.pop())
        if maker is not None and maker.name not in front:
            front.add(maker.name)
            open_ += maker.input
    return front


def _forget_types_within(model: onnx.ModelProto, front: set[str]) -> None:
    """The converter casts to half precision and back at each tensor whose type is listed, also between two nodes that it leaves alone."""
    inside = {name for node in model.graph.node if node.name in front for name in (*node.input, *node.output)}
    outside = {name for node in model.graph.node if node.name not in front for name in node.input}
    kept = [info for info in model.graph.value_info if info.name not in inside - outside]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
