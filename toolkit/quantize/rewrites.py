"""Exact rewrites of a float graph that let runtimes fuse more and int8 kernels follow each other: each changes the graph in place and no
answer. `lower` applies them; batch norms behind convolutions, the grey channel and the scaling are folded before, in torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from toolkit.quantize.heatmap import add_heatmap
from toolkit.quantize.nodes import BIAS, WEIGHTS, Array, affine, array, by_output, constant, has_constants

Rewrite = Callable[[ir.Graph], int]


def norms_behind_pools(graph: ir.Graph) -> int:
    """ReLU, batch norm, pool -> ReLU, pool, batch norm, where the norm only raises with its input: a maximum stays where it was, and the
    norm has a quarter of the work. Gives the number of places."""
    found = [(norm, pool) for norm in _norms(graph) if (pool := _only_user(norm, "MaxPool")) and (affine(norm)[0] > 0).all()]
    for norm, pool in found:
        before, after = norm.inputs[0], pool.outputs[0]
        ir.convenience.replace_all_uses_with(after, norm.outputs[0], replace_graph_outputs=True)
        pool.replace_input_with(0, before)
        norm.replace_input_with(0, after)
        graph.remove(norm)
        graph.insert_after(pool, norm)
        norm.outputs[0].shape = after.shape
    return len(found)


def norms_into_followers(graph: ir.Graph) -> int:
    """A batch norm goes into the weights and biases of the linear layer or convolution that alone reads it, also across a flattening.

    A convolution that pads with zeros takes the gain; the shift stays before it, as a sum: behind it, the borders would differ. Gives
    the number of places.
    """
    return sum(_into_follower(graph, norm) for norm in _norms(graph))


REWRITES: dict[str, Rewrite] = {
    "norms-behind-pools": norms_behind_pools,
    "heatmap": add_heatmap,
    "norms-into-followers": norms_into_followers,
}


def rewrite(model: ir.Model) -> dict[str, int]:
    """Apply all, in their order, and drop what nobody reads any more; gives the number of places that each changed."""
    places = {name: work(model.graph) for name, work in REWRITES.items()}
    RemoveUnusedNodesPass()(model)
    return places


def _norms(graph: ir.Graph) -> list[ir.Node]:
    return [node for node in graph if node.op_type == "BatchNormalization" and has_constants(node)]


def _only_user(node: ir.Node, *kinds: str) -> ir.Node | None:
    """The node that alone reads this one, when it is of one of the kinds."""
    users = list(node.outputs[0].uses())
    alone = len(users) == 1 and not node.outputs[0].is_graph_output()
    return users[0].node if alone and users[0].node.op_type in kinds else None


def _into_follower(graph: ir.Graph, norm: ir.Node) -> int:
    gain, shift = affine(norm)
    reader = _only_user(norm, "Reshape", "Gemm", "Conv")
    linear = _only_user(reader, "Gemm") if reader is not None and reader.op_type == "Reshape" else reader
    if reader is None or linear is None or not has_constants(linear) or not gain.all():
        return 0
    if linear.op_type == "Gemm":  # behind a flattening each channel is read at every place of its map
        places = by_output(linear).shape[1] // len(gain)
        gain, shift = np.repeat(gain, places), np.repeat(shift, places)
    if any(linear.attributes.get_ints("pads", ())):
        _absorb(graph, linear, gain, np.zeros_like(shift))
        _becomes_sum(graph, norm, shift / gain)
    else:
        _absorb(graph, linear, gain, shift)
        reader.replace_input_with(0, norm.inputs[0])
        graph.remove(norm, safe=True)
    return 1


def _absorb(graph: ir.Graph, node: ir.Node, gain: Array, shift: Array) -> None:
    """Let the layer take `x` and answer as it did to `gain * x + shift`."""
    weights = by_output(node)
    outputs, inputs = weights.shape[:2]  # inputs of a group
    groups = node.attributes.get_int("group", 1)
    channel = (np.arange(outputs) // (outputs // groups))[:, None] * inputs + np.arange(inputs)  # [O, I]
    aligned = (*channel.shape, *[1] * (weights.ndim - 2))
    bias = (weights * shift[channel].reshape(aligned)).reshape(outputs, -1).sum(1)
    weights = weights * gain[channel].reshape(aligned)
    if node.op_type == "Gemm":
        node.attributes["transB"] = ir.Attr("transB", ir.AttributeType.INT, 1)
    if len(node.inputs) <= BIAS:
        node.resize_inputs(BIAS + 1)
    else:
        bias += array(node, BIAS)
    node.replace_input_with(WEIGHTS, constant(graph, f"{node.name}.weights", weights.astype(np.float32)))
    node.replace_input_with(BIAS, constant(graph, f"{node.name}.bias", bias.astype(np.float32)))


def _becomes_sum(graph: ir.Graph, norm: ir.Node, shift: Array) -> None:
    values = constant(graph, f"{norm.name}.shift", shift.reshape(-1, 1, 1).astype(np.float32))
    added = ir.node("Add", [norm.inputs[0], values], name=f"{norm.name}.shifted")
    added.outputs[0].name, added.outputs[0].shape, added.outputs[0].type = norm.outputs[0].name, norm.outputs[0].shape, norm.outputs[0].type
    graph.insert_after(norm, added)
    ir.convenience.replace_all_uses_with(norm.outputs[0], added.outputs[0], replace_graph_outputs=True)
    graph.remove(norm, safe=True)
