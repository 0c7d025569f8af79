"""ONNX files as they are shipped: the graph itself, or with its weights stored in half precision."""

from __future__ import annotations

from pathlib import Path

from toolkit.core.files import write_atomically
from toolkit.core.target import Target
from toolkit.errors import MissingDependencyError

REQUIRES = "workshop"
LAYERS = ("Conv", "Gemm")
SMALL_TENSOR = 256  # values; smaller ones (biases, shapes) stay as they are


def export(graph: Path, target: Target, folder: Path) -> tuple[str, ...]:
    """Write the target's file into `folder` and give its name."""
    name = f"{target.stem}.onnx"
    write_atomically(folder / name, halve_weights(graph) if target.stem == "fp16w" else graph.read_bytes())
    return (name,)


def expose_layers(file: Path, folder: Path) -> Path:
    """A copy of an ONNX file in `folder` whose outputs are the logit and then what each convolution and linear layer gives, in order."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(file)
    layers = [node.output[0] for node in model.graph.node if node.op_type in LAYERS and not node.name.startswith("heatmap/")]
    del model.graph.output[1:]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in layers)
    exposed = folder / "exposed.onnx"
    write_atomically(exposed, model.SerializeToString())
    return exposed


def halve_weights(graph: Path) -> bytes:
    """The graph with each float32 weight stored as float16 behind a Cast: half the size, arithmetic still float32.

    The runtime folds the Cast when it loads. Weights beyond the range of float16 are clipped to it.
    """
    try:
        import numpy as np
        import onnx
        from onnx import helper, numpy_helper
    except ImportError as cause:
        raise MissingDependencyError("onnx", REQUIRES, "Storing weights in half precision") from cause
    model = onnx.load(graph)
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALL_TENSOR:
            continue
        name, limit = tensor.name, np.finfo(np.float16).max
        tensor.CopyFrom(numpy_helper.from_array(np.clip(values, -limit, limit).astype(np.float16), f"{name}_fp16"))
        casts.append(helper.make_node("Cast", [f"{name}_fp16"], [name], name=f"{name}_cast", to=onnx.TensorProto.FLOAT))
    for position, node in enumerate(casts):
        model.graph.node.insert(position, node)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
