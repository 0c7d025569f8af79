"""What each kind of processor finds in its int8 graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from toolkit.core.preprocessing import Preprocessing
from toolkit.core.target import Family
from toolkit.infer.runtimes import runtime
from toolkit.models.registry import build
from toolkit.quantize.for_onnxruntime import FORMS, quantize
from toolkit.quantize.ladder import Settings
from toolkit.quantize.lower import lower

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 1, 32, 32), dtype=np.uint8)
FAMILIES: tuple[Family | None, ...] = ("x86-vnni", "x86", "arm64", None)
MODELS = ("szanet", "mobilenet_v2")
ACTIVATIONS = {"x86-vnni": TensorProto.UINT8, "x86": TensorProto.UINT8, "arm64": TensorProto.INT8, None: TensorProto.INT8}

each_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network without strides and padding, and one with both."""
    folder, preprocessing = tmp_path_factory.mktemp("forms"), Preprocessing(size_px=32)
    for name in MODELS:
        torch.manual_seed(5)
        (folder / f"{name}.onnx").write_bytes(lower(build(name, preprocessing).eval(), preprocessing, 20))
    return {name: folder / f"{name}.onnx" for name in MODELS}


def int8(graph: Path, family: Family | None, folder: Path) -> onnx.ModelProto:
    quantize(IMAGES, Settings(graph), folder / "int8.onnx", FORMS[family])
    return onnx.load(folder / "int8.onnx")


def zero_points(model: onnx.ModelProto) -> list[Any]:
    """Of the activations: the third input of each QuantizeLinear."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return [constants[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]


def weights(model: onnx.ModelProto) -> list[Any]:
    """Bytes that convolutions and linear layers multiply with."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    readers = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm") and node.input[1] in readers]
    return [constants[readers[node.input[1]].input[0]] for node in layers]


@pytest.mark.parametrize("name", MODELS)
@each_family
def test_activations_and_weights_have_the_types_of_the_form(
    name: str, family: Family | None, graphs: dict[str, Path], tmp_path: Path
) -> None:
    model = int8(graphs[name], family, tmp_path)
    assert {numpy_helper.from_array(point).data_type for point in zero_points(model)} == {ACTIVATIONS[family]}
    assert weights(model)
    assert {values.dtype for values in weights(model)} == {np.dtype(np.int8)}


@pytest.mark.parametrize(("family", "largest"), [("x86-vnni", 127), ("x86", 64), ("arm64", 127), (None, 127)])
def test_only_x86_without_vnni_gets_seven_bits(family: Family | None, largest: int, graphs: dict[str, Path], tmp_path: Path) -> None:
    found = weights(int8(graphs["mobilenet_v2"], family, tmp_path))
    assert max(int(np.abs(values.astype(int)).max()) for values in found) == largest


def test_tensorrt_has_no_zero_points_and_no_int32_biases(graphs: dict[str, Path], tmp_path: Path) -> None:
    model = int8(graphs["mobilenet_v2"], None, tmp_path)
    integers = [tensor for tensor in model.graph.initializer if tensor.data_type in (TensorProto.INT8, TensorProto.UINT8)]
    points = [numpy_helper.to_array(tensor) for tensor in integers if "zero_point" in tensor.name]
    assert points
    assert not any(values.any() for values in points)
    assert not [tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT32]
    assert [tensor for tensor in int8(graphs["mobilenet_v2"], "arm64", tmp_path).graph.initializer if tensor.data_type == TensorProto.INT32]


@pytest.mark.parametrize("name", MODELS)
@each_family
def test_every_form_answers_near_float(name: str, family: Family | None, graphs: dict[str, Path], tmp_path: Path) -> None:
    int8(graphs[name], family, tmp_path)
    before, after = (runtime("onnxruntime").load([file]).logits(IMAGES) for file in (graphs[name], tmp_path / "int8.onnx"))
    assert np.abs(before - after).mean() < 0.05 * max(1.0, float(np.abs(before).max()))


@each_family
def test_what_scales_the_film_stays_float(family: Family | None, graphs: dict[str, Path], tmp_path: Path) -> None:
    kinds = [node.op_type for node in int8(graphs["szanet"], family, tmp_path).graph.node]
    before = onnx.load(graphs["szanet"]).graph.node
    expected = [node.op_type for node in before][: [node.op_type for node in before].index("Conv")]
    assert kinds[: len(expected)] == expected
