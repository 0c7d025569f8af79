"""What the passes over a graph read of its nodes, and how they add constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[np.float64]
WEIGHTS, BIAS = 1, 2


def has_constants(node: ir.Node) -> bool:
    """True when all inputs but the first are known."""
    return all(value.const_value is not None for value in node.inputs[1:] if value is not None)


def array(node: ir.Node, place: int) -> Array:
    """A known input."""
    value = node.inputs[place]
    assert value is not None and value.const_value is not None  # has_constants was asked
    return value.const_value.numpy().astype(np.float64)


def affine(norm: ir.Node) -> tuple[Array, Array]:
    """`gain` and `shift` `[C]` of a batch norm: it is `gain * x + shift`."""
    scale, offset, mean, variance = (array(norm, place) for place in range(1, 5))
    gain = scale / np.sqrt(variance + norm.attributes.get_float("epsilon", 1e-5))
    return gain, offset - mean * gain


def by_output(node: ir.Node) -> Array:
    """The weights of a convolution, `[O, I, kH, kW]`, or linear layer, `[O, I]`."""
    weights = array(node, WEIGHTS)
    return weights.T if node.op_type == "Gemm" and not node.attributes.get_int("transB", 0) else weights


def constant(graph: ir.Graph, name: str, values: NDArray[Any]) -> ir.Value:
    """A new initializer."""
    tensor = ir.tensor(values, name=name)
    value = ir.Value(name=name, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value
