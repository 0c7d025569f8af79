"""The first layer that departs: by hand, and in each runtime on a graph with one layer spoilt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from toolkit.core.preprocessing import Preprocessing
from toolkit.export import to_onnx, to_openvino
from toolkit.infer.runtimes import runtime
from toolkit.models.registry import build
from toolkit.quantize.lower import layer_outputs, lower
from toolkit.validate.departure import first_departure

EXPORTERS = {"onnxruntime": to_onnx, "openvino": to_openvino}
Values = NDArray[np.float32]


def array(*values: float) -> Values:
    return np.array(values, np.float32)


def test_the_first_beyond_the_limit_is_named_with_its_error() -> None:
    expected = {"a": array(3, 4), "b": array(1, 1), "c": array(2, 2)}
    text = first_departure(expected, [array(3, 4), array(1.5, 1.5), array(9, 9)], limit=0.1)
    assert text == "the first layer that departs is b (relative error 0.5, 0 one layer before)"


def test_no_layer_beyond_the_limit_names_the_worst() -> None:
    text = first_departure({"a": array(1), "b": array(1)}, [array(1.02), array(1.01)], limit=0.1)
    assert text == "no layer departs on its own, most of all is a (relative error 0.02)"


def test_another_number_of_layers_is_said() -> None:
    assert first_departure({"a": array(1)}, [], 1) == "it has 0 convolutions and linear layers where torch has 1"


@pytest.mark.parametrize("name", ["szanet", "custom_cnn", "mobilenet_v2"])
def test_a_spoilt_layer_is_found_in_each_runtime(name: str, tmp_path: Path) -> None:
    preprocessing = Preprocessing(size_px=160, normalise="film", scale=1.0)
    torch.manual_seed(2)
    network = build(name, preprocessing).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 160, 160), dtype=np.uint8)
    expected = layer_outputs(network, preprocessing, images)
    layers = list(expected)

    def departure(raw: bytes, backend: str) -> str:
        (tmp_path / "graph.onnx").write_bytes(raw)
        exposed = EXPORTERS[backend].expose_layers(tmp_path / "graph.onnx", tmp_path)
        return first_departure(expected, runtime(backend).load([exposed]).outputs(images)[1:], 1e-3)

    raw = lower(network, preprocessing, 20)
    model = onnx.load_model_from_string(raw)
    spoilt = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")][2]
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == spoilt.input[1])
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(1.5), weights.name))
    for backend in EXPORTERS:
        assert departure(raw, backend).startswith("no layer departs on its own")
        said = departure(model.SerializeToString(), backend)
        assert said.startswith(f"the first layer that departs is {layers[2]} (relative error 0.5")
