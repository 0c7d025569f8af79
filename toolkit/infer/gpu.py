"""The NVIDIA GPU of this machine, asked through its driver: which one it is, and memory on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import BundleError, MissingDependencyError


def why_none() -> str | None:
    """Why no NVIDIA GPU can be used here; None when one can. Raises MissingDependencyError without cuda-bindings."""
    driver = _driver()
    try:
        (error,) = driver.cuInit(0)
    except RuntimeError:  # the bindings look for the driver's library on the first call
        return "no NVIDIA driver is installed here"
    if error == driver.CUresult.CUDA_ERROR_NO_DEVICE:
        return "the NVIDIA driver finds no GPU here"
    return None if error == driver.CUresult.CUDA_SUCCESS else f"the NVIDIA driver does not start: {error.name}"


class Gpu:
    """The first GPU, in the context that TensorRT shares; ask `why_none` before. Methods raise BundleError when the GPU refuses."""

    def __init__(self) -> None:
        self._driver = _driver()
        self._ask("cuInit", 0)
        self._device = self._ask("cuDeviceGet", 0)
        self._context = self._ask("cuDevicePrimaryCtxRetain", self._device)
        self.use()

    @property
    def capability(self) -> str:
        """Its compute capability, such as '8.6'."""
        names = self._driver.CUdevice_attribute
        major = self._ask("cuDeviceGetAttribute", names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, self._device)
        minor = self._ask("cuDeviceGetAttribute", names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, self._device)
        return f"{major}.{minor}"

    def use(self) -> None:
        """Make it the current one of the calling thread."""
        self._ask("cuCtxSetCurrent", self._context)

    def stream(self) -> int:
        """A new queue of work."""
        return int(self._ask("cuStreamCreate", 0))

    def reserve(self, size: int) -> int:
        """Address of `size` new bytes."""
        return int(self._ask("cuMemAlloc", size))

    def copy_in(self, address: int, values: NDArray[Any], stream: int) -> None:
        """Queue a copy of C-contiguous values to the GPU."""
        self._ask("cuMemcpyHtoDAsync", address, values.ctypes.data, values.nbytes, stream)

    def copy_out(self, address: int, into: NDArray[np.float32], stream: int) -> None:
        """Queue a copy of what will lie at the address; `into` holds it after `wait`."""
        self._ask("cuMemcpyDtoHAsync", into.ctypes.data, address, into.nbytes, stream)

    def wait(self, stream: int) -> None:
        """Until all work of the stream is done."""
        self._ask("cuStreamSynchronize", stream)

    def event(self) -> int:
        """A mark that a stream can pass."""
        return int(self._ask("cuEventCreate", 0))

    def mark(self, event: int, stream: int) -> None:
        """Let the event take the time at which the stream passes here."""
        self._ask("cuEventRecord", event, stream)

    def between_ms(self, start: int, end: int) -> float:
        """Milliseconds of the GPU's own clock between two events that were passed."""
        return float(self._ask("cuEventElapsedTime", start, end))

    def drop_event(self, event: int) -> None:
        """Give an event back."""
        self._ask("cuEventDestroy", event)

    def capture(self, work: Callable[[], object], stream: int) -> int:
        """A graph of what `work` queues in the stream; none of it runs, whatever becomes of it the stream takes orders again."""
        self._ask("cuStreamBeginCapture", stream, self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        try:
            work()
        finally:
            graph = self._ask("cuStreamEndCapture", stream)
        try:
            return int(self._ask("cuGraphInstantiate", graph, 0))
        finally:
            self._ask("cuGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        """Queue a captured graph."""
        self._ask("cuGraphLaunch", graph, stream)

    def drop_graph(self, graph: int) -> None:
        """Give a captured graph back."""
        self._ask("cuGraphExecDestroy", graph)

    def release(self, addresses: Iterable[int], stream: int) -> None:
        """Give memory and stream back."""
        self.use()
        for address in addresses:
            self._ask("cuMemFree", address)
        self._ask("cuStreamDestroy", stream)

    def _ask(self, call: str, *arguments: Any) -> Any:
        """One call of the driver: its value, or None when it gives none."""
        error, *values = getattr(self._driver, call)(*arguments)
        if error != self._driver.CUresult.CUDA_SUCCESS:
            raise BundleError(f"The GPU refused {call}: {error.name}; close what else uses it and try again.")
        return values[0] if values else None


def _driver() -> Any:
    try:
        from cuda.bindings import driver
    except ImportError as cause:
        raise MissingDependencyError("cuda-bindings", "tensorrt-rtx", "Using an NVIDIA GPU") from cause
    return driver
