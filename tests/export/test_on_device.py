"""Engines built where they run: by the real builder, for a GPU that a fake driver reports."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest
import tensorrt_rtx

from tests.conftest import call_cli
from tests.export.test_typed import small_graph
from tests.fake_nvidia import FakeGpu, install_gpu
from toolkit.core.artifacts import EngineNote, FileEntry
from toolkit.core.bundle import Artifact, Bundle, write_manifest
from toolkit.core.codec import read_json
from toolkit.core.target import Target
from toolkit.errors import BundleError, EngineError, InputError, MissingDependencyError, ModelError
from toolkit.export import on_device
from toolkit.export.on_device import UNCHECKED, build_on_device

RTX = ["tensorrt-rtx-fp32.engine", "tensorrt-rtx-fp32.engine.json", "fp32.onnx"]
Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture
def gpu(monkeypatch: Patch) -> FakeGpu:
    """A driver that is a fake; the library, which is not, builds without a GPU but cannot load there: that call is left out."""
    monkeypatch.setattr(on_device, "load_engine", lambda backend, files, target: None)
    return install_gpu(monkeypatch)


@pytest.fixture
def device_bundle(bundle: Path, monkeypatch: Patch) -> Path:
    """The hand-made bundle, with an artifact for each TensorRT that has no engine yet and stands as if it had passed."""
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_rtx)  # the same calls under the other name
    manifest = Bundle(bundle).manifest
    names = ("tensorrt-rtx-fp32", "tensorrt-fp32")
    more = [msgspec.structs.replace(manifest.artifacts[0], name=name, target=Target.from_name(name), requires="a GPU") for name in names]
    recommended = (names[0], *manifest.recommended)
    changes: dict[str, Any] = {"recommended": recommended, "recommended_for": {"x86": recommended}}
    write_manifest(bundle, msgspec.structs.replace(manifest, artifacts=(*manifest.artifacts, *more), **changes))
    return bundle


def files_of(artifact: Artifact) -> list[str]:
    return [file.path for file in artifact.files]


def test_the_engine_comes_before_its_note_and_its_graph(gpu: FakeGpu, device_bundle: Path) -> None:
    manifest = build_on_device(Bundle(device_bundle), "tensorrt-rtx-fp32")
    after = Bundle(device_bundle)
    after.verify()
    assert after.manifest == manifest
    built = after.artifact("tensorrt-rtx-fp32")
    assert files_of(built) == RTX
    assert read_json(device_bundle / RTX[1], EngineNote).capabilities == ("8.6",)
    assert files_of(after.artifact("tensorrt-fp32")) == ["fp32.onnx"]


def test_an_engine_is_not_recommended_before_drift_was_run(gpu: FakeGpu, device_bundle: Path) -> None:
    manifest = build_on_device(Bundle(device_bundle), "tensorrt-rtx-fp32")
    built = Bundle(device_bundle).artifact("tensorrt-rtx-fp32")
    assert (built.drift, built.metrics, built.p50_ms, built.passed) == (None, None, None, False)
    assert manifest.unmeasured == {"tensorrt-rtx-fp32": UNCHECKED}
    assert manifest.recommended == ("onnxruntime-fp32",)
    assert manifest.recommended_for == {"x86": ("onnxruntime-fp32",)}
    assert Bundle(device_bundle).artifact("onnxruntime-fp32").passed


def test_all_whose_library_is_here_are_built_and_built_again(gpu: FakeGpu, device_bundle: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(on_device, "is_available", lambda backend: True)
    for capability in ("8.6", "8.9"):
        gpu.capability = capability
        build_on_device(Bundle(device_bundle), None)
        after = Bundle(device_bundle)
        after.verify()
        assert files_of(after.artifact("tensorrt-rtx-fp32")) == RTX
        assert files_of(after.artifact("tensorrt-fp32")) == ["tensorrt-fp32.engine", "tensorrt-fp32.engine.json", "fp32.onnx"]
        assert read_json(device_bundle / RTX[1], EngineNote).capabilities == (capability,)
    monkeypatch.setattr(on_device, "is_available", lambda backend: backend == "tensorrt-rtx")
    gpu.capability = "8.0"
    build_on_device(Bundle(device_bundle), None)
    assert read_json(device_bundle / "tensorrt-fp32.engine.json", EngineNote).capabilities == ("8.9",)


def test_a_gpu_without_a_name_of_its_own_gets_the_engine_for_all_later(gpu: FakeGpu, device_bundle: Path) -> None:
    gpu.capability = "9.0"
    build_on_device(Bundle(device_bundle), "tensorrt-rtx-fp32")
    assert read_json(device_bundle / RTX[1], EngineNote).capabilities == ()


def test_a_machine_without_a_gpu_refuses_and_changes_nothing(gpu: FakeGpu, device_bundle: Path) -> None:
    gpu.no_driver = True
    before = Bundle(device_bundle).sha256
    with pytest.raises(InputError, match="built for the GPU that runs it, and no NVIDIA driver is installed here; run this on the device"):
        build_on_device(Bundle(device_bundle), None)
    assert Bundle(device_bundle).sha256 == before


def test_a_damaged_bundle_is_refused(gpu: FakeGpu, device_bundle: Path) -> None:
    (device_bundle / "fp32.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError, match=r"fp32\.onnx was changed"):
        build_on_device(Bundle(device_bundle), None)


def test_a_graph_that_does_not_build_leaves_the_bundle_as_it_was(gpu: FakeGpu, device_bundle: Path) -> None:
    strange = small_graph(1.0, "Conv")
    strange.graph.node[1].op_type = "Det"
    del strange.graph.node[1].input[1:], strange.graph.initializer[:]
    onnx.save(strange, device_bundle / "fp32.onnx")
    reseal(device_bundle, FileEntry.of(device_bundle, "fp32.onnx"))
    before = sorted(path.name for path in device_bundle.iterdir()), Bundle(device_bundle).sha256
    with pytest.raises(ModelError, match="cannot take operator Det"):
        build_on_device(Bundle(device_bundle), None)
    assert (sorted(path.name for path in device_bundle.iterdir()), Bundle(device_bundle).sha256) == before


def reseal(folder: Path, file: FileEntry) -> None:
    """Let every artifact of the bundle name this file."""
    manifest = Bundle(folder).manifest
    artifacts = tuple(msgspec.structs.replace(artifact, files=(file,)) for artifact in manifest.artifacts)
    write_manifest(folder, msgspec.structs.replace(manifest, artifacts=artifacts))


def test_an_engine_that_the_library_builds_and_refuses_leaves_the_bundle_as_it_was(device_bundle: Path, monkeypatch: Patch) -> None:
    install_gpu(monkeypatch)  # the real library loads nothing on it
    before = sorted(path.name for path in device_bundle.iterdir()), Bundle(device_bundle).sha256
    with pytest.raises(EngineError, match=r"TensorRT-RTX .* refuses .*\.engine on the GPU here, of compute capability 8\.6: .*processor"):
        build_on_device(Bundle(device_bundle), "tensorrt-rtx-fp32")
    assert (sorted(path.name for path in device_bundle.iterdir()), Bundle(device_bundle).sha256) == before


def test_an_artifact_without_a_graph_is_refused(gpu: FakeGpu, device_bundle: Path) -> None:
    (device_bundle / "net.bin").write_bytes(b"x")
    reseal(device_bundle, FileEntry.of(device_bundle, "net.bin"))
    with pytest.raises(BundleError, match=r"tensorrt-rtx-fp32 of .* carries no ONNX graph"):
        build_on_device(Bundle(device_bundle), None)


@pytest.mark.parametrize(
    ("name", "message"),
    [("onnxruntime-fp32", "onnxruntime-fp32 needs no engine"), ("tensorrt-fp64", "has no artifact 'tensorrt-fp64'; it has:")],
)
def test_other_artifacts_are_refused(name: str, message: str, gpu: FakeGpu, device_bundle: Path) -> None:
    with pytest.raises(InputError, match=message):
        build_on_device(Bundle(device_bundle), name)


def test_a_bundle_without_such_artifacts_is_refused(gpu: FakeGpu, opened: Callable[[], Bundle]) -> None:
    with pytest.raises(InputError, match="has no artifact that needs an engine; it has: onnxruntime-fp32"):
        build_on_device(opened(), None)


def test_a_missing_library_names_its_extra(gpu: FakeGpu, device_bundle: Path, monkeypatch: Patch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"cxr-edge\[tensorrt\]"):
        build_on_device(Bundle(device_bundle), "tensorrt-fp32")


def test_the_command_says_what_it_built_and_what_to_do_next(gpu: FakeGpu, device_bundle: Path, capsys: Captured) -> None:
    assert call_cli("export", "--on-device", device_bundle, "--artifact", "tensorrt-rtx-fp32") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"tensorrt-rtx-fp32: {device_bundle / RTX[0]}, ")
    assert "cxr-edge drift" in line
    assert call_cli("bundle", "verify", device_bundle) == 0


def test_the_command_refuses_without_a_gpu(gpu: FakeGpu, device_bundle: Path, capsys: Captured) -> None:
    gpu.no_driver = True
    assert call_cli("export", device_bundle, "--on-device") == 2
    assert capsys.readouterr().err.startswith("Error: An engine is built for the GPU that runs it, and no NVIDIA driver is installed here;")
