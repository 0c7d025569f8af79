"""OpenVINO artifacts: int8 as IR; float ones are the ONNX file itself, which OpenVINO reads as it is.

So a bundle that serves both runtimes carries its float weights once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.core.files import write_atomically
from toolkit.core.privacy import refuse_telemetry
from toolkit.core.target import Target
from toolkit.export import to_onnx

if TYPE_CHECKING:
    import openvino

REQUIRES = "openvino"
LAYERS = ("Convolution", "GroupConvolution", "MatMul")


def export(graph: Path, target: Target, folder: Path) -> tuple[str, ...]:
    """Write the files of one artifact into `folder` and give their names, the one to load first."""
    if not target.is_int8:
        return to_onnx.export(graph, target, folder)
    names = (f"{target.stem}.xml", f"{target.stem}.bin")
    for name in names:
        write_atomically(folder / name, graph.with_suffix(Path(name).suffix).read_bytes())
    return names


def expose_layers(file: Path, folder: Path) -> Path:
    """A copy of a model in `folder` whose outputs are the logit and then what each convolution and linear layer gives, in order."""
    if file.suffix == ".onnx":
        return to_onnx.expose_layers(file, folder)
    refuse_telemetry()
    import openvino

    model = openvino.Core().read_model(str(file))
    for result in model.get_results()[1:]:
        model.remove_result(result)
    layers = [node for node in model.get_ordered_ops() if node.get_type_name() in LAYERS]
    model.add_outputs([_with_bias(node).output(0) for node in layers if not node.get_friendly_name().startswith("heatmap")])
    exposed = folder / "exposed.xml"
    openvino.save_model(model, str(exposed), compress_to_fp16=False)
    return exposed


def _with_bias(node: openvino.Node) -> openvino.Node:
    """The operation that adds the layer's bias, where one does."""
    readers = list(node.output(0).get_target_inputs())
    if len(readers) != 1:
        return node
    reader = readers[0].get_node()
    others = [reader.input_value(place).get_node() for place in range(reader.get_input_size()) if place != readers[0].get_index()]
    known = reader.get_type_name() in ("Add", "Multiply") and all(map(_is_known, others))
    return _with_bias(reader) if known else node


def _is_known(node: openvino.Node) -> bool:
    """True when it does not depend on the film."""
    return node.get_type_name() != "Parameter" and all(
        _is_known(node.input_value(place).get_node()) for place in range(node.get_input_size())
    )
