"""One contract for every runtime: same graph, same answers, same errors."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.conftest import EDGE, brightness_graph
from toolkit.core.target import AS_WRITTEN, Target
from toolkit.errors import BundleError, MissingDependencyError
from toolkit.infer.runtimes import MODULES, runtime

BACKENDS = sorted(name for name in MODULES if not name.startswith("tensorrt"))  # its engines: test_on_tensorrt.py


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(brightness_graph(scale=0.1, middle=128), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def grey(*levels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.stack([np.full((1, EDGE, EDGE), level, np.uint8) for level in levels])


@pytest.mark.parametrize("backend", BACKENDS)
def test_answers_are_those_worked_out_by_hand(backend: str, model: Path) -> None:
    logits = runtime(backend).load([model], threads=1).logits(grey(28, 128, 228))
    assert logits.dtype == np.float32
    assert logits == pytest.approx([-10.0, 0.0, 10.0], abs=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_earlier_answers_stay_when_later_ones_come(backend: str, model: Path) -> None:
    session = runtime(backend).load([model])
    first = session.logits(grey(28))
    session.logits(grey(228))
    assert first == pytest.approx([-10.0], abs=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_films_that_may_not_be_written_or_lie_otherwise_are_answered(backend: str, model: Path) -> None:
    session = runtime(backend).load([model])
    mapped = grey(28, 228)
    mapped.flags.writeable = False
    assert session.logits(mapped) == pytest.approx([-10.0, 10.0], abs=1e-5)
    assert session.logits(mapped[::-1]) == pytest.approx([10.0, -10.0], abs=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_that_is_no_model_is_refused(backend: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"model\.onnx is no ONNX file, or is damaged; copy the bundle again"):
        runtime(backend).load([tmp_path / "model.onnx"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_missing_package_names_its_extra(backend: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == backend:
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=rf"'{backend}', which is not installed: pip install"):
        runtime(backend).load([model])


def saturating_graph() -> onnx.ModelProto:
    """logit = 127 * (first grey + second grey), all rounded to bytes: of white ones 64 770, which no sum of 16 bits holds."""
    numbers = {
        "one": np.float32(1),
        "none": np.uint8(0),
        "zero": np.int8(0),
        "shape": np.array([-1, 2], np.int64),
        "bytes": np.full((2, 1), 127, np.int8),
    }
    node = onnx.helper.make_node
    nodes = [
        node("Cast", ["image"], ["greys"], to=onnx.TensorProto.FLOAT),
        node("Reshape", ["greys", "shape"], ["flat"]),
        node("QuantizeLinear", ["flat", "one", "none"], ["rounded"]),
        node("DequantizeLinear", ["rounded", "one", "none"], ["x"]),
        node("DequantizeLinear", ["bytes", "one", "zero"], ["w"]),
        node("MatMul", ["x", "w"], ["product"]),
        node("ReduceSum", ["product"], ["logit"], keepdims=0),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "saturating",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["n", 1, 1, 2])],
        [onnx.helper.make_tensor_value_info("logit", onnx.TensorProto.FLOAT, [])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize("name", ["onnxruntime-int8", "onnxruntime-int8-arm64", "tensorrt-int8"])
def test_bytes_are_added_exactly_on_this_processor_too(name: str, tmp_path: Path) -> None:
    onnx.save(saturating_graph(), tmp_path / "int8.onnx")
    session = runtime("onnxruntime").load([tmp_path / "int8.onnx"], threads=1, target=Target.from_name(name))
    assert float(session.logits(np.full((1, 1, 1, 2), 255, np.uint8))) == 2 * 127 * 255


@pytest.mark.parametrize(("name", "written"), [("onnxruntime-int8", True), ("onnxruntime-int8-x86", False), ("onnxruntime-fp32", False)])
def test_without_vnni_a_graph_that_would_overflow_is_calculated_as_it_is_written(
    name: str, written: bool, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = []

    class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
        def add_session_config_entry(self, key: str, value: str) -> None:
            settings.append((key, value))
            super().add_session_config_entry(key, value)

    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    monkeypatch.setattr("toolkit.infer.machine.family", lambda: "x86")
    runtime("onnxruntime").load([model], target=Target.from_name(name))
    assert settings == [AS_WRITTEN] * written


@pytest.mark.parametrize("family", ["x86", "x86-vnni"])
def test_openvinos_int8_has_bytes_only_where_they_are_added_exactly(
    family: str, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kinds of operations that OpenVINO made of it: with bytes, its ranges go into the convolutions."""
    monkeypatch.setattr("toolkit.infer.machine.family", lambda: family)
    session = runtime("openvino").load([finished_run / "quantize" / "openvino-int8.xml"], target=Target.from_name("openvino-int8"))
    made = session._compiled[1].get_runtime_model().get_ordered_ops()  # type: ignore[attr-defined]
    types = {node.get_rt_info()["runtimePrecision"].value for node in made if node.get_rt_info()["layerType"].value == "Convolution"}
    assert types
    assert types <= ({"f32"} if family == "x86" else {"u8", "i8"})


def test_openvino_sessions_of_one_thread_do_not_wait_for_the_same_core(model: Path) -> None:
    def pinned(threads: int) -> bool:
        session = runtime("openvino").load([model], threads=threads)
        return bool(session._compiled[1].get_property("ENABLE_CPU_PINNING"))  # type: ignore[attr-defined]

    assert (pinned(1), pinned(2)) == (False, True)
