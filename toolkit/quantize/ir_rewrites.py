"""Exact rewrites of an int8 graph for OpenVINO that make its description smaller: each changes the graph in place and no answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import openvino

ACTIVATIONS = ("Relu", "Clamp")
HEATMAP = "heatmap"
READ = re.compile(rb"<input>.*?</input>", re.DOTALL)
SHAPED = re.compile(rb"<port ([^<>]*[^<>/])>(?:<dim>[^<]*</dim>)+</port>")


def make_smaller(model: openvino.Model) -> None:
    """All of them."""
    activations_into_ranges(model)
    share_constants(model)
    name_by_position(model)
    forget_making(model)


def activations_into_ranges(model: openvino.Model) -> int:
    """A ReLU, or a clamp as ReLU6 is one, goes where only quantizations read it whose ranges lie within its own: they clip anyway. Gives
    the number of places."""
    gone = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() in ACTIVATIONS and all(_clips(reader, *_bounds(node)) for reader in _readers(node)):
            gone += 1
            for reader in _readers(node):
                reader.replace_source_output(node.input_value(0))
    return gone


def share_constants(model: openvino.Model) -> int:
    """Of equal constants one stays, whom all read: most are ends of ranges, and each range stands there twice. Gives the number of those
    that nothing reads any more."""
    first: dict[tuple[str, tuple[int, ...], bytes], openvino.Node] = {}
    gone = 0
    for node in _constants(model):
        key = str(node.get_element_type()), tuple(node.get_output_shape(0)), node.data.tobytes()
        kept = first.setdefault(key, node)
        if kept is not node:
            gone += 1
            for reader in _readers(node):
                reader.replace_source_output(kept.output(0))
    return gone


def name_by_position(model: openvino.Model) -> None:
    """Names made from a counter of the process would differ from run to run; positions do not, and are short. Inputs, outputs and the
    heat map keep theirs."""
    outputs = {result.input_value(0) for result in model.get_results()}
    for position, node in enumerate(model.get_ordered_ops()):
        if node.get_type_name() not in ("Parameter", "Result") and not is_heatmap(node):
            node.set_friendly_name(str(position))
            for output in set(node.outputs()) - outputs:
                output.set_names(set())


def forget_making(model: openvino.Model) -> None:
    """NNCF's settings are not the model; a run's quantize.json has what was chosen."""
    for key in ("nncf", "conversion_parameters"):
        if key in model.rt_info:
            del model.rt_info[key]


def without_spaces(description: bytes) -> bytes:
    """The XML without the spaces that are half of it: between tags and before their ends."""
    return re.sub(rb'(["\w])\s+/>', rb"\1/>", re.sub(rb">\s+<", b"><", description))


def without_read_shapes(description: bytes) -> bytes:
    """The XML, which has no spaces any more, without the shapes of what operations read: each stands where it is made, too, and OpenVINO
    infers it from there (`XmlDeserializer::create_node`)."""
    return READ.sub(lambda found: SHAPED.sub(rb"<port \1/>", found[0]), description)


def is_heatmap(node: openvino.Node) -> bool:
    """True for the operations that make the second output."""
    return bool(node.get_friendly_name().startswith(HEATMAP))


def _readers(node: openvino.Node) -> list[openvino.Input]:
    return list(node.output(0).get_target_inputs())


def _bounds(activation: openvino.Node) -> tuple[float, float]:
    if activation.get_type_name() == "Relu":
        return 0.0, float("inf")
    given = activation.get_attributes()
    return cast(float, given["min"]), cast(float, given["max"])


def _clips(reader: openvino.Input, low: float, high: float) -> bool:
    """True for the film's input of a quantization whose range is known and lies between `low` and `high`."""
    node = reader.get_node()
    if node.get_type_name() != "FakeQuantize" or reader.get_index() != 0:
        return False
    ends = [node.input_value(place).get_node() for place in (1, 2)]
    if any(end.get_type_name() != "Constant" for end in ends):
        return False
    return bool((ends[0].data >= low).all() and (ends[1].data <= high).all())


def _constants(model: openvino.Model) -> list[openvino.Node]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]
