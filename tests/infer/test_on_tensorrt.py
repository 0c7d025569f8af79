"""TensorRT without a GPU: what is asked of the library and of the driver, on fakes of both."""

from __future__ import annotations

import builtins
import gc
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fake_nvidia import VERSION, CUresult, FakeGpu, install_gpu, install_library, write_engine
from toolkit.core.target import Target
from toolkit.errors import BundleError, EngineError, MissingDependencyError
from toolkit.infer import gpu as gpu_module
from toolkit.infer import machine
from toolkit.infer.runtimes import Session, runtime

TARGET = Target.from_name("tensorrt-rtx-fp16")
REMEDY = "build it here: cxr-edge export --on-device .* --artifact tensorrt-rtx-fp16"


def brightness(images: Any) -> Any:
    return 0.1 * (images.mean((1, 2, 3)) - 128)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    gpu = install_gpu(monkeypatch)
    install_library(monkeypatch, gpu, brightness)
    return gpu


def load(engine: Path) -> Session:
    return runtime("tensorrt-rtx").load([engine, engine.with_name("fp16.engine.json")], target=TARGET)


def films(count: int) -> Any:
    return np.random.default_rng(count).integers(0, 256, (count, 1, 32, 32), dtype=np.uint8)


@pytest.mark.parametrize("backend", ["tensorrt-rtx", "tensorrt"])
def test_answers_come_in_slices_of_the_largest_batch(backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpu = install_gpu(monkeypatch)
    install_library(monkeypatch, gpu, brightness, backend)
    assert runtime(backend).is_available()
    session = runtime(backend).load([write_engine(tmp_path)])
    found = session.logits(films(37))
    assert gpu.batches == [16, 16, 5]
    assert found.dtype == np.float32
    assert found == pytest.approx(brightness(films(37)), abs=1e-5)


def test_a_session_serves_again_and_again_with_the_same_memory(gpu: FakeGpu, tmp_path: Path) -> None:
    session = load(write_engine(tmp_path))
    first = session.logits(films(3))
    assert session.logits(films(5)[:, :, ::-1]) == pytest.approx(brightness(films(5)), abs=1e-5)  # not contiguous
    assert session.logits(films(5)[:0]).shape == (0,)
    assert first == pytest.approx(brightness(films(3)), abs=1e-5)
    assert [len(block) for block in gpu.memory.values()] == [16 * 32 * 32, 16 * 4, 16 * 7 * 7 * 4]


def test_a_heat_map_comes_with_the_logit_where_it_is_asked_for(gpu: FakeGpu, tmp_path: Path) -> None:
    logit, heatmap = load(write_engine(tmp_path)).outputs(films(18))
    assert logit == pytest.approx(brightness(films(18)), abs=1e-5)
    assert (heatmap.shape, heatmap.dtype) == ((18, 7, 7), np.float32)
    assert (heatmap == logit[:, None, None]).all()


def test_memory_is_freed_with_the_session(gpu: FakeGpu, tmp_path: Path) -> None:
    session = load(write_engine(tmp_path))
    assert gpu.memory
    assert gpu.streams
    del session
    gc.collect()
    assert not gpu.memory
    assert not gpu.streams


def test_a_gpu_that_is_full_says_so_and_keeps_nothing(gpu: FakeGpu, tmp_path: Path) -> None:
    engine = write_engine(tmp_path)
    gpu.errors["cuMemAlloc"] = CUresult.CUDA_ERROR_OUT_OF_MEMORY
    with pytest.raises(BundleError, match="The GPU refused cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY; close what else uses it"):
        load(engine)
    gc.collect()
    assert not gpu.memory
    assert not gpu.streams


def test_each_call_makes_the_gpu_current_in_its_thread(gpu: FakeGpu, tmp_path: Path) -> None:
    session = load(write_engine(tmp_path))
    gpu.calls.clear()
    session.logits(films(1))
    assert gpu.calls == ["cuCtxSetCurrent", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuStreamSynchronize"]


@pytest.fixture
def captured(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A session of TensorRT, which we capture ourselves."""
    install_library(monkeypatch, gpu, brightness, "tensorrt")
    return runtime("tensorrt").load([write_engine(tmp_path, backend="tensorrt")])


def test_the_second_call_with_as_many_pictures_is_captured_and_launched(captured: Any, gpu: FakeGpu) -> None:
    launches = []
    for count, seed in ((3, 1), (3, 2), (3, 3), (2, 4), (2, 5), (3, 6)):
        pictures = np.random.default_rng(seed).integers(0, 256, (count, 1, 32, 32), dtype=np.uint8)
        assert captured.logits(pictures) == pytest.approx(brightness(pictures), abs=1e-5)
        launches.append(captured.launch)
    assert launches == ["kernel by kernel", "CUDA graph", "CUDA graph", "kernel by kernel", "CUDA graph", "kernel by kernel"]
    assert gpu.calls.count("cuGraphLaunch") == 3
    assert not gpu.graphs  # each was good for one number of pictures


def test_slices_and_graphs_go_together(captured: Any) -> None:
    for _ in range(3):
        assert captured.logits(films(37)) == pytest.approx(brightness(films(37)), abs=1e-5)


def test_an_engine_that_cannot_be_captured_runs_and_says_so(captured: Any, gpu: FakeGpu) -> None:
    gpu.errors["cuStreamEndCapture"] = CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
    for _ in range(3):
        gpu.queued = None
        assert captured.logits(films(2)) == pytest.approx(brightness(films(2)), abs=1e-5)
    assert captured.launch.startswith("kernel by kernel: The GPU refused cuStreamEndCapture: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")
    assert gpu.calls.count("cuStreamBeginCapture") == 1


def test_graph_and_events_are_freed_with_the_session(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_library(monkeypatch, gpu, brightness, "tensorrt")
    session: Any = runtime("tensorrt").load([write_engine(tmp_path, backend="tensorrt")])
    for _ in range(2):
        session.device_ms(films(1))
    assert gpu.graphs
    assert gpu.events
    del session
    gc.collect()
    assert not gpu.graphs
    assert not gpu.events
    assert not gpu.memory


def test_tensorrt_rtx_is_asked_to_capture_by_itself(gpu: FakeGpu, tmp_path: Path) -> None:
    session: Any = load(write_engine(tmp_path))
    assert gpu.configs[0].cuda_graph_strategy == "whole"
    for _ in range(3):
        session.logits(films(1))
    assert "cuStreamBeginCapture" not in gpu.calls
    assert "TensorRT-RTX" in session.launch


@pytest.mark.parametrize("backend", ["tensorrt-rtx", "tensorrt"])
def test_the_gpus_own_time_is_that_of_the_engine_slice_by_slice(
    backend: Any, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install_library(monkeypatch, gpu, brightness, backend)
    session: Any = runtime(backend).load([write_engine(tmp_path, backend=backend)])
    for _ in range(3):
        assert session.device_ms(films(37)) == pytest.approx(0.25 * 37)


def test_the_real_bindings_have_every_call_that_is_made() -> None:
    import tensorrt_rtx
    from cuda.bindings import driver

    source = Path(gpu_module.__file__).read_text(encoding="utf-8")
    made = set(re.findall(r'"(cu[A-Z]\w+)"', source))
    assert len(made) > 15
    assert all(hasattr(driver, name) for name in made)
    assert hasattr(driver.CUstreamCaptureMode, "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL")
    assert hasattr(tensorrt_rtx.ICudaEngine, "create_runtime_config")
    assert hasattr(tensorrt_rtx.IRuntimeConfig, "cuda_graph_strategy")
    assert hasattr(tensorrt_rtx.CudaGraphStrategy, "WHOLE_GRAPH_CAPTURE")


def test_pictures_of_another_size_are_refused(gpu: FakeGpu, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"does not take pictures of shape \(1, 1, 8, 8\)"):
        load(write_engine(tmp_path)).logits(np.zeros((1, 1, 8, 8), np.uint8))


def test_an_engine_of_another_version_is_not_loaded(gpu: FakeGpu, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=rf"fp16\.engine is for TensorRT-RTX 9\.9 and TensorRT-RTX {VERSION} is here; {REMEDY}"):
        load(write_engine(tmp_path, version="9.9"))
    assert not gpu.loaded


def test_an_engine_for_other_gpus_is_not_loaded(gpu: FakeGpu, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=rf"is for GPUs of compute capability 7\.5, 8\.0 and the one here has 8\.6; {REMEDY}"):
        load(write_engine(tmp_path, capabilities=("7.5", "8.0")))
    assert not gpu.loaded


def test_an_engine_for_all_later_gpus_is_tried(gpu: FakeGpu, tmp_path: Path) -> None:
    gpu.capability = "9.0"
    assert load(write_engine(tmp_path, capabilities=())).logits(films(1)).shape == (1,)


def test_what_the_library_says_is_in_the_error_and_nowhere_else(gpu: FakeGpu, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    what = rf"TensorRT-RTX {VERSION} refuses fp16\.engine on the GPU here, of compute capability 8\.6"
    message = f"{what}: the header is not as expected; use an artifact for the processor"
    with pytest.raises(EngineError, match=message):
        load(write_engine(tmp_path, content=b"junk"))
    assert capfd.readouterr() == ("", "")


def test_a_graph_whose_engine_was_not_built_names_the_command(gpu: FakeGpu, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=rf"fp16\.onnx is a graph whose engine was not built yet; {REMEDY}"):
        load(tmp_path / "fp16.onnx")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, "no NVIDIA driver is installed here"),
        (CUresult.CUDA_ERROR_NO_DEVICE, "the NVIDIA driver finds no GPU here"),
        (CUresult.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "the NVIDIA driver does not start: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"),
    ],
)
@pytest.mark.parametrize("backend", ["tensorrt-rtx", "tensorrt"])
def test_a_machine_without_a_gpu_says_so(
    backend: str, error: CUresult | None, reason: str, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install_library(monkeypatch, gpu, brightness, backend)
    gpu.no_driver = error is None
    gpu.errors = {"cuInit": error} if error else {}
    assert machine.why_not(Target.from_name(f"{backend}-fp16")) == reason
    with pytest.raises(EngineError, match=rf"needs an NVIDIA GPU, and {reason}; use an artifact for the processor"):
        runtime(backend).load([write_engine(tmp_path)])


def test_the_real_bindings_find_no_driver_or_a_gpu() -> None:
    reason = runtime("tensorrt-rtx").why_not(TARGET)
    assert reason is None or reason.startswith(("no NVIDIA driver", "the NVIDIA driver"))


@pytest.mark.parametrize("backend", ["tensorrt-rtx", "tensorrt"])
def test_a_missing_package_names_its_extra(backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real, package = builtins.__import__, backend.replace("-", "_")

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=rf"'{package}', which is not installed: pip install 'cxr-edge\[{backend}\]'"):
        runtime(backend).load([write_engine(tmp_path)])
