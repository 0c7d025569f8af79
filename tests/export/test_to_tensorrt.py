"""Engines of the light networks, built without a GPU: what is in the note, what the library says of them, what it refuses.

TensorRT-RTX is installed with the tests; nothing here runs an engine, which takes a GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorrt_rtx

from tests.export.conftest import LIGHT
from tests.export.test_typed import small_graph
from tests.fake_nvidia import install_gpu
from toolkit.core.artifacts import EngineNote, FileEntry, TensorNote
from toolkit.core.codec import read_json
from toolkit.core.files import sha256_of
from toolkit.core.target import Target
from toolkit.errors import InputError, MissingDependencyError, ModelError
from toolkit.export.to_tensorrt import MAX_BATCH, build, capabilities_of, export, is_available
from toolkit.infer.engine import listener
from toolkit.quantize.for_onnxruntime import FORMS, quantize
from toolkit.quantize.ladder import Settings

RTX = "tensorrt-rtx"
AMPERE_TO_BLACKWELL = ("8.0", "8.6", "8.9", "12.0")
IMAGES = np.random.default_rng(2).integers(0, 256, (4, 1, 224, 224), dtype=np.uint8)
MAGIC = b"vtrt"


def validity(raw: bytes) -> tuple[str, str]:
    """What the library says of an engine from its header, and the reason that it gives."""
    heard = listener(tensorrt_rtx)
    verdict, diagnostics = tensorrt_rtx.Runtime(heard).get_engine_validity(raw)
    return verdict.name, "malformed" if int(diagnostics) & int(tensorrt_rtx.EngineInvalidityDiagnostics.MALFORMED_ENGINE) else ""


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", LIGHT)
def test_each_light_network_becomes_an_engine(
    name: str, precision: Any, light_graphs: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (file,) = export(light_graphs[name], Target.from_name(f"tensorrt-rtx-{precision}"), tmp_path)
    note = build(tmp_path / file, RTX, AMPERE_TO_BLACKWELL, tmp_path)
    assert read_json(tmp_path / f"tensorrt-rtx-{precision}.engine.json", EngineNote) == note
    assert note.engine == FileEntry.of(tmp_path, f"tensorrt-rtx-{precision}.engine")
    assert note.graph_sha256 == sha256_of(tmp_path / f"{precision}.onnx")
    assert (note.version, note.capabilities, note.max_batch) == (tensorrt_rtx.__version__, AMPERE_TO_BLACKWELL, MAX_BATCH)
    assert note.inputs == (TensorNote(name="image", dtype="uint8", shape=(-1, 1, 224, 224)),)
    assert note.outputs[0] == TensorNote(name="logit", dtype="float32", shape=(-1,))
    assert {(output.dtype, output.shape[0]) for output in note.outputs} == {("float32", -1)}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", LIGHT)
def test_symmetric_int8_becomes_an_engine_of_each_light_network(name: str, light_graphs: dict[str, Path], tmp_path: Path) -> None:
    quantized = quantize(IMAGES, Settings(light_graphs[name]), tmp_path / "q.onnx", FORMS[None])
    (file,) = export(quantized[0], Target.from_name("tensorrt-rtx-int8"), tmp_path)
    assert file == "int8-symmetric.onnx"
    for capabilities in (("8.0", "8.6", "8.9"), ("12.0",)):
        assert build(tmp_path / file, RTX, capabilities, tmp_path).engine.path == "tensorrt-rtx-int8-symmetric.engine"


def test_int8_of_processors_is_refused_by_the_name_of_its_operator(light_graphs: dict[str, Path], tmp_path: Path) -> None:
    quantize(IMAGES, Settings(light_graphs["szanet"]), tmp_path / "u8.onnx", FORMS["x86-vnni"])
    with pytest.raises(ModelError, match=r"TensorRT-RTX [\d.]+ cannot take operator \w+ \(node [^)]+\) of u8\.onnx: .*UINT8"):
        build(tmp_path / "u8.onnx", RTX, ("8.6",), tmp_path)
    assert not list(tmp_path.glob("*.engine*"))


def test_without_a_driver_the_library_reads_the_header_and_no_more(light_graphs: dict[str, Path], tmp_path: Path) -> None:
    note = build(light_graphs["szanet"], RTX, (), tmp_path)
    raw = (tmp_path / note.engine.path).read_bytes()
    assert raw.startswith(MAGIC)
    assert validity(raw)[1] == ""
    assert validity(b"x" + raw[1:]) == ("INVALID", "malformed")
    assert validity(b"") == ("INVALID", "malformed")


@pytest.mark.parametrize("name", LIGHT)
def test_two_builds_differ_in_bytes_at_most(name: str, light_graphs: dict[str, Path], tmp_path: Path) -> None:
    """Digests of engines are not promised to repeat; what an engine is for and what it takes and gives is."""
    first, second = (build(light_graphs[name], RTX, ("8.6",), tmp_path / place) for place in "ab")
    assert (first.inputs, first.outputs, first.graph_sha256) == (second.inputs, second.outputs, second.graph_sha256)
    assert abs(first.engine.bytes - second.engine.bytes) < 0.05 * first.engine.bytes


def test_turing_takes_half_precision_alone(light_graphs: dict[str, Path], tmp_path: Path) -> None:
    (file,) = export(light_graphs["szanet"], Target.from_name("tensorrt-rtx-fp16"), tmp_path)
    assert build(tmp_path / file, RTX, ("7.5",), tmp_path).capabilities == ("7.5",)
    with pytest.raises(ModelError, match=r"cannot build szanet\.onnx for compute capability 7\.5: .*FP32 GEMM is not supported"):
        build(light_graphs["szanet"], RTX, ("7.5",), tmp_path)


def test_a_capability_that_the_library_does_not_know_is_named(light_graphs: dict[str, Path], tmp_path: Path) -> None:
    assert {"7.5", *AMPERE_TO_BLACKWELL} <= set(capabilities_of("tensorrt-rtx"))
    assert capabilities_of("tensorrt") == ()
    message = r"does not build for compute capability 9\.0; it builds for 7\.5, 8\.0, 8\.6, 8\.9, 12\.0"
    with pytest.raises(ModelError, match=message):
        build(light_graphs["szanet"], RTX, ("8.6", "9.0"), tmp_path)


def test_an_operator_that_is_not_taken_is_named(tmp_path: Path) -> None:
    graph = small_graph(1.0, "Conv")
    graph.graph.node[1].op_type, graph.graph.node[1].name = "Det", "strange"
    del graph.graph.node[1].input[1:], graph.graph.initializer[:]
    onnx.save(graph, tmp_path / "det.onnx")
    with pytest.raises(ModelError, match=r"cannot take operator Det \(node strange\) of det\.onnx"):
        build(tmp_path / "det.onnx", RTX, (), tmp_path)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(ModelError, match=r"cannot read junk\.onnx: .*Failed to parse"):
        build(tmp_path / "junk.onnx", RTX, (), tmp_path)
    assert capfd.readouterr() == ("", "")


def test_tensorrt_builds_for_the_gpu_that_is_here(light_graphs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_rtx)  # the same calls under the other name
    gpu = install_gpu(monkeypatch, "8.7")
    note = build(light_graphs["szanet"], "tensorrt", ("8.6",), tmp_path)
    assert (note.backend, note.capabilities, note.engine.path) == ("tensorrt", ("8.7",), "tensorrt-szanet.engine")
    gpu.no_driver = True
    with pytest.raises(InputError, match="TensorRT builds an engine for the GPU that is here, and no NVIDIA driver is installed here"):
        build(light_graphs["szanet"], "tensorrt", (), tmp_path)


def test_a_missing_package_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert is_available("tensorrt-rtx")
    with pytest.raises(MissingDependencyError, match=r"Building an engine needs the package 'tensorrt', .*cxr-edge\[tensorrt\]"):
        build(tmp_path / "any.onnx", "tensorrt", (), tmp_path)
