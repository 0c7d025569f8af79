"""ONNX files as they are shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from toolkit.core.target import Target
from toolkit.export import to_onnx, to_openvino
from toolkit.infer.runtimes import runtime

IMAGES = np.random.default_rng(1).integers(0, 256, (4, 1, 32, 32), dtype=np.uint8)


@pytest.fixture
def graph(finished_run: Path) -> Path:
    return finished_run / "quantize" / "float.onnx"


def test_fp32_is_the_graph_itself(graph: Path, tmp_path: Path) -> None:
    assert to_onnx.export(graph, Target.from_name("onnxruntime-fp32"), tmp_path) == ("fp32.onnx",)
    assert (tmp_path / "fp32.onnx").read_bytes() == graph.read_bytes()


def test_halved_weights_take_half_the_room_and_answer_nearly_alike(graph: Path, tmp_path: Path) -> None:
    (name,) = to_onnx.export(graph, Target.from_name("onnxruntime-fp16w"), tmp_path)
    assert (tmp_path / name).stat().st_size < 0.56 * graph.stat().st_size
    for backend in ("onnxruntime", "openvino"):
        before, after = (runtime(backend).load([file]).logits(IMAGES) for file in (graph, tmp_path / name))
        assert after == pytest.approx(before, abs=2e-2)


def test_weights_beyond_half_precision_are_clipped(tmp_path: Path) -> None:
    values = np.full(300, 1e6, np.float32)
    tensor = onnx.numpy_helper.from_array(values, "w")
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    face = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [300]) for name in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", face[:1], face[1:], [tensor]))
    onnx.save(model, tmp_path / "big.onnx")
    halved = onnx.load_model_from_string(to_onnx.halve_weights(tmp_path / "big.onnx"))
    assert onnx.numpy_helper.to_array(halved.graph.initializer[0]).max() == np.float16(65504)


def test_openvino_shares_the_float_file_and_has_its_own_int8(graph: Path, finished_run: Path, tmp_path: Path) -> None:
    quantized = finished_run / "quantize" / "openvino-int8.xml"
    assert to_openvino.export(graph, Target.from_name("openvino-fp32"), tmp_path) == ("fp32.onnx",)
    assert to_openvino.export(graph, Target.from_name("openvino-bf16"), tmp_path) == ("fp32.onnx",)
    assert to_openvino.export(quantized, Target.from_name("openvino-int8"), tmp_path) == ("int8.xml", "int8.bin")
    assert (tmp_path / "int8.bin").read_bytes() == quantized.with_suffix(".bin").read_bytes()
