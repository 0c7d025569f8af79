"""A second output: where the network looks. The gradient of the logit is written out as part of the forward graph, so that a runtime
without gradients draws the map of Grad-CAM (Selvaraju et al. 2017).

It is exact where the logit is piecewise linear in the last maps: a flattening or a mean over places, then linear layers, batch norms and
ReLUs. There the weight of each map is a product of the weights behind it and of what each ReLU let through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit.quantize.nodes import affine, by_output, constant, has_constants

Array = NDArray[np.float64]
OUTPUT = "heatmap"
MIN_EDGE = 5  # a coarser map shows no place in the lung
LINEAR, NORM, RELU = "Gemm", "BatchNormalization", "Relu"
POOLS = ("ReduceMean", "GlobalAveragePool")
BESIDE = ("Reshape", "Squeeze", "Gather", "Identity")  # one logit as a vector


@dataclass(frozen=True)
class _Head:
    """From the logit back: its layers, the last one first, and the maps `[N, C, h, w]` that they begin with."""

    layers: tuple[ir.Node, ...]
    maps: ir.Value
    pooled: bool


def add_heatmap(graph: ir.Graph) -> int:
    """Add the output `heatmap`, float32 `[N, h, w]`, of the last maps' size; 0 when the head is of another form, and nothing is added.

    Positive where a place speaks for pneumonia. Grad-CAM of that call is the positive part; of the other call, that of its negative.
    """
    head = _head(graph)
    if head is None:
        return 0
    edges = _edges(head.maps)
    if min(edges) < MIN_EDGE:
        return 0
    gain, shift, maps = _before_norm(head.maps)
    build = _Builder(graph)
    gradient, weights = _walk(build, head, len(gain), edges)
    offset, weights = weights @ shift, weights * gain
    heat = build.constant_map(maps, weights, offset) if gradient is None else build.map(gradient, maps, weights, offset)
    build.output(heat, edges)
    return 1


def _head(graph: ir.Graph) -> _Head | None:
    node = graph.outputs[0].producer()
    while node is not None and node.op_type in BESIDE:
        node = _before(node)
    layers: list[ir.Node] = []
    while node is not None and node.op_type in (LINEAR, NORM, RELU) and (node.op_type == RELU or has_constants(node)):
        layers.append(node)
        node = _before(node)
    if not layers or layers[-1].op_type != LINEAR or len(by_output(layers[0])) != 1 or node is None or node.op_type != "Reshape":
        return None
    above = _before(node)
    pooled = above is not None and above.op_type in POOLS
    maps = above.inputs[0] if pooled and above is not None else node.inputs[0]
    return _Head(tuple(layers), maps, pooled) if maps is not None and maps.shape is not None and len(maps.shape) == 4 else None


def _before(node: ir.Node) -> ir.Node | None:
    value = node.inputs[0]
    return value.producer() if value is not None else None


def _edges(maps: ir.Value) -> tuple[int, int]:
    assert maps.shape is not None  # _head asked
    height, width = maps.shape[2], maps.shape[3]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else (0, 0)


def _before_norm(maps: ir.Value) -> tuple[Array, Array, ir.Value]:
    """`gain`, `shift` `[C]` and maps `x` so that the head's maps are `gain * x + shift`: a norm may move into the head afterwards."""
    norm = maps.producer()
    if norm is not None and norm.op_type == NORM and has_constants(norm) and norm.inputs[0] is not None:
        return *affine(norm), norm.inputs[0]
    assert maps.shape is not None  # _head asked
    channels = maps.shape[1]
    assert isinstance(channels, int)  # only the batch is dynamic
    return np.ones(channels), np.zeros(channels), maps


def _walk(build: _Builder, head: _Head, channels: int, edges: tuple[int, int]) -> tuple[ir.Value | None, Array]:
    """The gradient of the logit by the maps' channels, mean over places, is `gradient @ weights`; a gradient of None stands for 1."""
    gradient: ir.Value | None = None
    weights = np.ones((1, 1))
    for layer in head.layers:
        if layer.op_type == RELU:
            gradient, weights = build.gated(gradient, weights, layer.outputs[0])
        elif layer.op_type == NORM:
            weights = weights * affine(layer)[0]
        else:
            weights = weights @ by_output(layer)
    places = edges[0] * edges[1]
    return gradient, weights / places if head.pooled else weights.reshape(len(weights), channels, places).mean(2)


class _Builder:
    """Adds nodes named `heatmap/...` at the end of the graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.count = 0

    def gated(self, gradient: ir.Value | None, weights: Array, activation: ir.Value) -> tuple[ir.Value, Array]:
        """Through a ReLU, `[N, H]`: units that it shut pass nothing."""
        passed = self._add("Sign", activation)
        factor = self._constant("weights", weights)
        flowing = factor if gradient is None else self._add("MatMul", gradient, factor)
        return self._add("Mul", passed, flowing), np.eye(weights.shape[1])

    def map(self, gradient: ir.Value, maps: ir.Value, weights: Array, offset: Array) -> ir.Value:
        """`[N, 1, h * w]`: the maps weighed by `gradient @ weights`, plus `gradient @ offset`."""
        alpha = self._add("MatMul", gradient, self._constant("weights", weights))
        rows = self._add("Unsqueeze", alpha, self._integers("axis", 1))
        flat = self._add("Reshape", maps, self._integers("flat", 0, weights.shape[1], -1))
        heat = self._add("MatMul", rows, flat)
        if not offset.any():
            return heat
        level = self._add("MatMul", gradient, self._constant("offset", offset[:, None]))
        return self._add("Add", heat, self._add("Unsqueeze", level, self._integers("axis", 1)))

    def constant_map(self, maps: ir.Value, weights: Array, offset: Array) -> ir.Value:
        """`[N, 1, h, w]`, where no ReLU lies between maps and logit: a convolution of one place."""
        return self._add("Conv", maps, self._constant("weights", weights[:, :, None, None]), self._constant("offset", offset))

    def output(self, heat: ir.Value, edges: tuple[int, int]) -> None:
        """`[N, h, w]`."""
        named = self._add("Reshape", heat, self._integers("shape", -1, *edges))
        assert self.graph.outputs[0].shape is not None  # the exporter's
        named.name, named.shape, named.type = OUTPUT, ir.Shape([self.graph.outputs[0].shape[0], *edges]), ir.TensorType(ir.DataType.FLOAT)
        self.graph.outputs.append(named)

    def _add(self, kind: str, *inputs: ir.Value) -> ir.Value:
        node = ir.node(kind, list(inputs), name=self._name(kind))
        node.outputs[0].name = node.name
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        self.graph.append(node)
        return node.outputs[0]

    def _constant(self, what: str, values: Array) -> ir.Value:
        return constant(self.graph, self._name(what), values.astype(np.float32))

    def _integers(self, what: str, *values: int) -> ir.Value:
        return constant(self.graph, self._name(what), np.array(values, np.int64))

    def _name(self, what: str) -> str:
        self.count += 1
        return f"{OUTPUT}/{what.lower()}_{self.count}"
