"""Engines of TensorRT-RTX and TensorRT: the two libraries differ in name, not in what is called here."""

from __future__ import annotations

import importlib.util
import math
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
    """A loaded engine with one execution context, and memory on the GPU for its largest batch; freed with the session.

    From the second call with equally many pictures on, TensorRT's is launched as one CUDA graph; TensorRT-RTX does so by itself. `launch`
    says in words how the last call was launched.
    """

    def __init__(self, context: Any, note: EngineNote, gpu: Gpu) -> None:
        if context is None:
            raise BundleError("The GPU has no room for the engine; close what else uses it and try again.")
        self._context, self._gpu, self._note = context, gpu, note
        self._held = Held(gpu, gpu.stream())
        weakref.finalize(self, self._held.release)
        self._captures = note.backend == "tensorrt"
        self.launch = "kernel by kernel" if self._captures else "as TensorRT-RTX decides, a CUDA graph where it can"
        self._last: tuple[int, ...] | None = None
        self._lock = threading.Lock()  # one context, one place in memory
        for tensor in (*note.inputs, *note.outputs):
            self._held.memory[tensor.name] = gpu.reserve(_bytes(tensor, note.max_batch))
            self._context.set_tensor_address(tensor.name, self._held.memory[tensor.name])

    def logits(self, images: Pixels) -> NDArray[np.float32]:
        """uint8 `[N, 1, H, W]` -> float32 `[N]`, in slices of the engine's largest batch; raises BundleError when the GPU refuses."""
        with self._lock:
            return self._answers(images, [tensor for tensor in self._note.outputs if tensor.name == "logit"])[0]

    def outputs(self, images: Pixels) -> tuple[NDArray[np.float32], ...]:
        """All outputs, in the graph's order."""
        with self._lock:
            return self._answers(images, self._note.outputs)

    def device_ms(self, images: Pixels) -> float:
        """Milliseconds that the GPU works on the pictures, by its own clock, without the copies to it and back."""
        with self._lock:
            return self._device_ms(images)

    def _device_ms(self, images: Pixels) -> float:
        held = self._held
        self._gpu.use()
        held.events = held.events or (self._gpu.event(), self._gpu.event())
        start, end = held.events
        total = 0.0
        for part in self._slices(images):
            self._enter(images[part])
            self._gpu.mark(start, held.stream)
            self._execute()
            self._gpu.mark(end, held.stream)
            self._gpu.wait(held.stream)
            total += self._gpu.between_ms(start, end)
        return total

    def _slices(self, images: Pixels) -> Iterator[slice]:
        size = self._note.max_batch
        return (slice(start, start + size) for start in range(0, len(images), size))

    def _answers(self, images: Pixels, wanted: Sequence[TensorNote]) -> tuple[NDArray[np.float32], ...]:
        self._gpu.use()
        found = tuple(np.empty((len(images), *tensor.shape[1:]), np.float32) for tensor in wanted)
        for part in self._slices(images):
            self._enter(images[part])
            self._execute()
            for tensor, values in zip(wanted, found, strict=True):
                self._gpu.copy_out(self._held.memory[tensor.name], values[part], self._held.stream)
            self._gpu.wait(self._held.stream)
        return found

    def _enter(self, images: Pixels) -> None:
        """Queue the copy of the pictures, and let the context know how many they are. A graph is good for one number of pictures."""
        pixels = np.ascontiguousarray(images)
        if pixels.shape != self._last:
            self._held.drop_graph()
            if self._captures:
                self.launch = "kernel by kernel"
            self._last = None
            if not self._context.set_input_shape("image", pixels.shape):
                raise BundleError(f"The engine does not take pictures of shape {pixels.shape}; prepare them as the bundle says.")
        self._gpu.copy_in(self._held.memory["image"], pixels, self._held.stream)
        self._held.pixels = pixels  # until the copy is done

    def _execute(self) -> None:
        """Queue the engine: as a graph where there is one, or where one can be made now that it ran with this number of pictures."""
        held, pixels = self._held, self._held.pixels
        if held.graph is None and self._captures and self._last == pixels.shape:
            self._capture()
        if held.graph is None:
            self._queue()
        else:
            self._gpu.launch(held.graph, held.stream)
        self._last = pixels.shape

    def _capture(self) -> None:
        """Not every engine can be captured; one that cannot is queued as before, and `launch` says so."""
        try:
            self._held.graph = self._gpu.capture(self._queue, self._held.stream)
            self.launch = "CUDA graph"
        except BundleError as cause:
            self._captures, self.launch = False, f"kernel by kernel: {cause}"

    def _queue(self) -> None:
        if not self._context.execute_async_v3(self._held.stream):
            raise BundleError("The GPU did not run the engine; close what else uses it and try again.")


@dataclass
class Held:
    """What a session holds on the GPU, and gives back."""

    gpu: Gpu
    stream: int
    memory: dict[str, int] = field(default_factory=dict)
    events: tuple[int, ...] = ()
    graph: int | None = None
    pixels: Pixels = field(default_factory=lambda: np.empty(0, np.uint8))

    def drop_graph(self) -> None:
        """Forget the captured graph."""
        if self.graph is not None:
            self.gpu.drop_graph(self.graph)
        self.graph = None

    def release(self) -> None:
        """Give everything back."""
        self.gpu.use()
        self.drop_graph()
        for event in self.events:
            self.gpu.drop_event(event)
        self.gpu.release(self.memory.values(), self.stream)


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
    return EngineSession(_context(trt, backend, loaded), note, gpu)


def _context(trt: Any, backend: Backend, engine: Any) -> Any:
    """TensorRT-RTX compiles kernels for a number of pictures while the first calls run, and captures when they are there; a capture of ours
    would keep the slow ones. None when the GPU has no room."""
    if backend == "tensorrt":
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(config)


def note_of(engine: Path) -> Path:
    """Where an engine's note lies."""
    return engine.with_name(f"{engine.name}.json")


def _bytes(tensor: TensorNote, batch: int) -> int:
    return math.prod(tensor.shape[1:]) * batch * np.dtype(tensor.dtype).itemsize
