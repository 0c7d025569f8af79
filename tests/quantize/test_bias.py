"""Bias correction: each layer of the int8 graph gives in the mean what the float graph's gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import INT8
from toolkit.core.target import Target
from toolkit.quantize.bias import correct_biases, layers_of
from toolkit.quantize.for_onnxruntime import FORMS, quantize
from toolkit.quantize.ladder import Settings

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 1, 2, 2), dtype=np.uint8)


def linear(weight: float, bias: float) -> onnx.ModelProto:
    """logit = weight * image + bias at each place: a convolution of one channel and one place."""
    constants = {"w": np.full((1, 1, 1, 1), weight, np.float32), "b": np.full(1, bias, np.float32)}
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Conv", ["pixels", "w", "b"], ["maps"], name="conv"),
        helper.make_node("ReduceMean", ["maps"], ["logit"], keepdims=0, name="mean"),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1, 2, 2])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, [])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_the_bias_takes_back_what_another_weight_shifts(tmp_path: Path) -> None:
    onnx.save(linear(0.5, 1.0), tmp_path / "float.onnx")
    rounded = linear(0.25, 1.0)
    correct_biases(tmp_path / "float.onnx", rounded, IMAGES)
    bias = next(numpy_helper.to_array(tensor) for tensor in rounded.graph.initializer if tensor.name == "b")
    assert bias == pytest.approx(1 + 0.25 * IMAGES.mean())


def means(model: onnx.ModelProto, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Of each layer before its ReLU, by channel, as one batch and by numpy alone."""
    names = {node.name: node.output[0] for node in layers_of(model)}
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names.values())
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(list(names.values()), {"image": images})
    return {name: np.moveaxis(values, 1, -1).reshape(-1, values.shape[1]).mean(0) for name, values in zip(names, found, strict=True)}


def test_a_networks_layers_give_the_means_of_float(finished_run: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (16, 1, 32, 32), dtype=np.uint8)
    graph = finished_run / "quantize" / "float.onnx"
    expected = means(onnx.load(graph), images)
    shifts = {}
    for corrected in (False, True):
        file = tmp_path / f"{corrected}.onnx"
        quantize(images, Settings(graph, bias_correction=corrected), file, FORMS[Target.from_name(INT8).family])
        found = means(onnx.load(file), images)
        assert found.keys() == expected.keys()
        shifts[corrected] = [float(np.abs(found[name] - expected[name]).mean()) for name in expected]
    assert all(after < 0.5 * before for before, after in zip(shifts[False], shifts[True], strict=True))
