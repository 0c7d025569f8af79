"""A GPU made of a dict, behind the two libraries that the package calls: it keeps memory, and runs an engine by a Python function."""

from __future__ import annotations

import ctypes
import enum
import importlib.machinery
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from toolkit.core.artifacts import EngineNote, FileEntry, TensorNote
from toolkit.core.codec import encode_json
from toolkit.core.target import Backend

VERSION = "1.2.3"
ENGINE = b"the fake engine"
Answer = Callable[[Any], Any]


class CUresult(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803


class FakeGpu:
    """`errors` makes calls fail; `no_driver` leaves the driver's library out."""

    def __init__(self, capability: str = "8.6") -> None:
        self.capability = capability
        self.memory: dict[int, bytearray] = {}
        self.streams: set[int] = set()
        self.errors: dict[str, CUresult] = {}
        self.no_driver = False
        self.calls: list[str] = []
        self.batches: list[int] = []
        self.loaded: list[bytes] = []
        self.queued: list[Callable[[], object]] | None = None
        self.graphs: dict[int, list[Callable[[], object]]] = {}
        self.events: dict[int, float] = {}
        self.clock_ms = 0.0
        self.configs: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            if self.no_driver:
                raise RuntimeError("no libcuda.so")
            self.calls.append(name)
            error = self.errors.get(name, CUresult.CUDA_SUCCESS)
            value = None if error else getattr(self, f"do_{name}", lambda *_: None)(*arguments)
            return (error,) if value is None else (error, value)

        return call

    def do_cuDeviceGet(self, place: int) -> int:  # noqa: N802  the driver's names
        return 7 + place

    def do_cuDevicePrimaryCtxRetain(self, device: int) -> str:  # noqa: N802
        return f"context of {device}"

    def do_cuDeviceGetAttribute(self, place: int, device: int) -> int:  # noqa: N802
        return int(self.capability.split(".")[place])

    def do_cuStreamCreate(self, flags: int) -> int:  # noqa: N802
        self.streams.add(5)
        return 5

    def do_cuStreamDestroy(self, stream: int) -> None:  # noqa: N802
        self.streams.remove(stream)

    def do_cuMemAlloc(self, size: int) -> int:  # noqa: N802
        address = 1000 * (len(self.memory) + 1)
        self.memory[address] = bytearray(size)
        return address

    def do_cuMemFree(self, address: int) -> None:  # noqa: N802
        del self.memory[address]

    def do_cuMemcpyHtoDAsync(self, address: int, host: int, size: int, stream: int) -> None:  # noqa: N802
        self.memory[address][:size] = ctypes.string_at(host, size)

    def do_cuMemcpyDtoHAsync(self, host: int, address: int, size: int, stream: int) -> None:  # noqa: N802
        ctypes.memmove(host, bytes(self.memory[address][:size]), size)

    def do_cuStreamBeginCapture(self, stream: int, mode: str) -> None:  # noqa: N802
        self.queued = []

    def do_cuStreamEndCapture(self, stream: int) -> list[Callable[[], object]]:  # noqa: N802
        queued, self.queued = self.queued, None
        assert queued is not None
        return queued

    def do_cuGraphInstantiate(self, queued: list[Callable[[], object]], flags: int) -> int:  # noqa: N802
        self.graphs[place := 77 + len(self.graphs)] = queued
        return place

    def do_cuGraphLaunch(self, graph: int, stream: int) -> None:  # noqa: N802
        for work in self.graphs[graph]:
            work()

    def do_cuGraphExecDestroy(self, graph: int) -> None:  # noqa: N802
        del self.graphs[graph]

    def do_cuEventCreate(self, flags: int) -> int:  # noqa: N802
        self.events[place := 90 + len(self.events)] = -1.0
        return place

    def do_cuEventRecord(self, event: int, stream: int) -> None:  # noqa: N802
        self.events[event] = self.clock_ms

    def do_cuEventElapsedTime(self, start: int, end: int) -> float:  # noqa: N802
        return self.events[end] - self.events[start]

    def do_cuEventDestroy(self, event: int) -> None:  # noqa: N802
        del self.events[event]

    def driver(self) -> ModuleType:
        module = ModuleType("cuda.bindings.driver")
        names = ("CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR", "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR")
        module.CUdevice_attribute = SimpleNamespace(**{name: place for place, name in enumerate(names)})  # type: ignore[attr-defined]
        module.CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="thread")  # type: ignore[attr-defined]
        module.CUresult = CUresult  # type: ignore[attr-defined]
        module.__getattr__ = lambda name: getattr(self, name)  # type: ignore[method-assign]
        return module


class FakeContext:
    """Runs `answer` on what lies at the address of `image`; the heat map is the logit at every place."""

    def __init__(self, gpu: FakeGpu, answer: Answer) -> None:
        self.gpu, self.answer = gpu, answer
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return shape[1:] == (1, 32, 32)

    def execute_async_v3(self, stream: int) -> bool:
        if self.gpu.queued is None:
            self.run()
        else:
            self.gpu.queued.append(self.run)
        return stream in self.gpu.streams

    def run(self) -> None:
        count = self.shape[0]
        self.gpu.clock_ms += 0.25 * count
        self.gpu.batches.append(count)
        raw = self.gpu.memory[self.addresses["image"]][: int(np.prod(self.shape))]
        answers = self.answer(np.frombuffer(bytes(raw), np.uint8).reshape(self.shape)).astype(np.float32)
        self.gpu.memory[self.addresses["logit"]][: 4 * count] = answers.tobytes()
        heat = np.repeat(answers, 49)
        self.gpu.memory[self.addresses["heatmap"]][: heat.nbytes] = heat.tobytes()


def fake_library(gpu: FakeGpu, answer: Answer) -> ModuleType:
    """What the package calls of TensorRT to run an engine."""
    module = ModuleType("tensorrt")

    class ILogger:
        Severity = enum.IntEnum("Severity", {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3, "VERBOSE": 4})

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, raw: bytes) -> Any:
            gpu.loaded.append(raw)
            self.logger.log(ILogger.Severity.INFO, "said in passing")
            if raw != ENGINE:
                self.logger.log(ILogger.Severity.ERROR, "the header is not as expected")
                return None
            return SimpleNamespace(create_execution_context=context, create_runtime_config=SimpleNamespace)

    def context(config: Any = None) -> FakeContext:
        gpu.configs.append(config)
        return FakeContext(gpu, answer)

    module.__version__ = VERSION  # type: ignore[attr-defined]
    module.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")  # type: ignore[attr-defined]
    module.ILogger, module.Runtime = ILogger, Runtime  # type: ignore[attr-defined]
    return module


def install_gpu(monkeypatch: pytest.MonkeyPatch, capability: str = "8.6") -> FakeGpu:
    """Let `cuda.bindings.driver` be a fake one."""
    gpu = FakeGpu(capability)
    package, bindings = ModuleType("cuda"), ModuleType("cuda.bindings")
    package.__spec__ = importlib.machinery.ModuleSpec("cuda", None)
    bindings.driver = gpu.driver()  # type: ignore[attr-defined]
    for name, module in {"cuda": package, "cuda.bindings": bindings, "cuda.bindings.driver": bindings.driver}.items():  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    return gpu


def install_library(monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu, answer: Answer, backend: str = "tensorrt-rtx") -> None:
    """Let the backend's library be a fake one."""
    module, name = fake_library(gpu, answer), backend.replace("-", "_")
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    monkeypatch.setitem(sys.modules, name, module)


def write_engine(
    folder: Path,
    capabilities: tuple[str, ...] = ("8.6",),
    version: str = VERSION,
    content: bytes = ENGINE,
    backend: Backend = "tensorrt-rtx",
) -> Path:
    """An engine for films of 32 pixels and its note."""
    engine = folder / "fp16.engine"
    engine.write_bytes(content)
    note = EngineNote(
        backend=backend,
        version=version,
        capabilities=capabilities,
        max_batch=16,
        inputs=(TensorNote(name="image", dtype="uint8", shape=(-1, 1, 32, 32)),),
        outputs=(
            TensorNote(name="logit", dtype="float32", shape=(-1,)),
            TensorNote(name="heatmap", dtype="float32", shape=(-1, 7, 7)),
        ),
        graph_sha256="0" * 64,
        engine=FileEntry.of(folder, engine.name),
    )
    (folder / "fp16.engine.json").write_bytes(encode_json(note))
    return engine
