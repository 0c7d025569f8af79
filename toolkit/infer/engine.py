"""Engines of TensorRT-RTX and TensorRT: the two libraries differ in name, not in what is called here."""

from __future__ import annotations

import importlib.util
import math
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.core.artifacts import EngineNote, TensorNote
from toolkit.core.codec import read_json
from toolkit.core.target import Backend, Target
from toolkit.errors import BundleError, EngineError, MissingDependencyError
from toolkit.imaging.decode import Pixels
from toolkit.infer.gpu import Gpu, why_none

NAMES = {"tensorrt-rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}
PACKAGES = {"tensorrt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
SUFFIX = ".engine"


def is_available(backend: Backend) -> bool:
    """True when the library and the driver's bindings are installed."""
    return all(importlib.util.find_spec(package) is not None for package in (PACKAGES[backend], "cuda"))


def library(backend: Backend, purpose: str) -> Any:
    """The vendor's module; raises MissingDependencyError that says what it was wanted for."""
    try:
        if backend == "tensorrt-rtx":
            import tensorrt_rtx as trt
        else:
            import tensorrt as trt
    except ImportError as cause:
        raise MissingDependencyError(PACKAGES[backend], backend, purpose) from cause
    return trt


def listener(trt: Any) -> Any:
    """TensorRT's logger: keeps errors for `problems()`, from now on, and prints nothing."""
    one = _listener(trt)
    one.heard.clear()
    return one


@cache
def _listener(trt: Any) -> Any:
    """One for the process, as the library wants it."""

    class Listener(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.heard: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.heard.append(message)

        def problems(self) -> str:
            """What went wrong."""
            return "; ".join(dict.fromkeys(self.heard)) or "it gives no reason"

    return Listener()


class EngineSession:
    """A loaded engine with one execution context, and memory on the GPU for its largest batch; freed with the session."""

    def __init__(self, engine: Any, note: EngineNote, gpu: Gpu) -> None:
        self._engine, self._context = engine, engine.create_execution_context()
        self._gpu, self._stream, self._note = gpu, gpu.stream(), note
        self._memory: dict[str, int] = {}
        weakref.finalize(self, _release, gpu, self._memory, self._stream)
        if self._context is None:
            raise BundleError("The GPU has no room for the engine; close what else uses it and try again.")
        for tensor in (*note.inputs, *note.outputs):
            self._memory[tensor.name] = gpu.reserve(_bytes(tensor, note.max_batch))
            self._context.set_tensor_address(tensor.name, self._memory[tensor.name])

    def logits(self, images: Pixels) -> NDArray[np.float32]:
        """uint8 `[N, 1, H, W]` -> float32 `[N]`, in slices of the engine's largest batch; raises BundleError when the GPU refuses."""
        return self._answers(images, [tensor for tensor in self._note.outputs if tensor.name == "logit"])[0]

    def outputs(self, images: Pixels) -> tuple[NDArray[np.float32], ...]:
        """All outputs, in the graph's order."""
        return self._answers(images, self._note.outputs)

    def _answers(self, images: Pixels, wanted: Sequence[TensorNote]) -> tuple[NDArray[np.float32], ...]:
        self._gpu.use()
        found = tuple(np.empty((len(images), *tensor.shape[1:]), np.float32) for tensor in wanted)
        for start in range(0, len(images), self._note.max_batch):
            part = slice(start, start + self._note.max_batch)
            self._run(images[part], {tensor.name: values[part] for tensor, values in zip(wanted, found, strict=True)})
        return found

    def _run(self, images: Pixels, into: Mapping[str, NDArray[np.float32]]) -> None:
        pixels = np.ascontiguousarray(images)
        if not self._context.set_input_shape("image", pixels.shape):
            raise BundleError(f"The engine does not take pictures of shape {pixels.shape}; prepare them as the bundle says.")
        self._gpu.copy_in(self._memory["image"], pixels, self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise BundleError("The GPU did not run the engine; close what else uses it and try again.")
        for name, values in into.items():
            self._gpu.copy_out(self._memory[name], values, self._stream)
        self._gpu.wait(self._stream)


def load(backend: Backend, files: Sequence[Path], target: Target | None) -> EngineSession:
    """Load the engine `files[0]`, whose note lies beside it; raises MissingDependencyError, or EngineError when it was built for another
    version or another GPU, both read from the note, was not built yet, or is refused by the library, which builds for more GPUs than it
    runs on."""
    engine = files[0]
    trt = library(backend, f"Running a {NAMES[backend]} artifact")
    heard, version = listener(trt), f"{NAMES[backend]} {trt.__version__}"
    remedy = f"build it here: cxr-edge export --on-device {engine.parent} --artifact {target.name if target else 'NAME'}"
    if engine.suffix != SUFFIX:
        raise EngineError(f"{engine} is a graph whose engine was not built yet; {remedy}.")
    reason = why_none()
    if reason:
        raise EngineError(f"{engine} needs an NVIDIA GPU, and {reason}; use an artifact for the processor.")
    note, gpu = read_json(note_of(engine), EngineNote, BundleError), Gpu()
    if note.version != trt.__version__:
        raise EngineError(f"{engine} is for {NAMES[backend]} {note.version} and {version} is here; {remedy}.")
    if note.capabilities and gpu.capability not in note.capabilities:
        listed = ", ".join(note.capabilities)
        raise EngineError(f"{engine} is for GPUs of compute capability {listed} and the one here has {gpu.capability}; {remedy}.")
    loaded = trt.Runtime(heard).deserialize_cuda_engine(engine.read_bytes())
    if loaded is None:
        where = f"on the GPU here, of compute capability {gpu.capability}"
        raise EngineError(f"{version} refuses {engine.name} {where}: {heard.problems()}; use an artifact for the processor.")
    return EngineSession(loaded, note, gpu)


def note_of(engine: Path) -> Path:
    """Where an engine's note lies."""
    return engine.with_name(f"{engine.name}.json")


def _bytes(tensor: TensorNote, batch: int) -> int:
    return math.prod(tensor.shape[1:]) * batch * np.dtype(tensor.dtype).itemsize


def _release(gpu: Gpu, memory: dict[str, int], stream: int) -> None:
    gpu.release(memory.values(), stream)
