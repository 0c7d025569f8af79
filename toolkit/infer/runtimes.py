"""The table of runtimes. Each is one module `on_*` with the same names: `REQUIRES`, `is_available()`, `load(...)`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from toolkit.core.target import Target
from toolkit.imaging.decode import Pixels

MODULES = {
    "onnxruntime": "toolkit.infer.on_onnxruntime",
    "openvino": "toolkit.infer.on_openvino",
    "tensorrt-rtx": "toolkit.infer.on_tensorrt_rtx",
    "tensorrt": "toolkit.infer.on_tensorrt",
}


class Session(Protocol):
    """A loaded model; several threads may ask it at once."""

    def logits(self, images: Pixels) -> NDArray[np.float32]:
        """uint8 `[N, 1, H, W]` -> float32 `[N]`."""
        ...

    def outputs(self, images: Pixels) -> tuple[NDArray[np.float32], ...]:
        """The same, and all further outputs of the graph, in its order; the second, where there is one, is `heatmap` `[N, h, w]`."""
        ...


@runtime_checkable
class OnDevice(Protocol):
    """What a session on a GPU can tell besides. `launch`: in words, how the last call was launched."""

    launch: str

    def device_ms(self, images: Pixels) -> float:
        """Milliseconds that the GPU works on uint8 `[N, 1, H, W]`, by its own clock, without copies."""
        ...


class Runtime(Protocol):
    """What each module `on_*` offers."""

    REQUIRES: str
    """The extra of setup.cfg that brings it; empty for the base install."""

    def is_available(self) -> bool:
        """True when its package is installed."""
        ...

    def why_not(self, target: Target) -> str | None:
        """Why an artifact of this target cannot run on this machine although the package is here; None when it can."""
        ...

    def load(self, files: Sequence[Path], threads: int | None = None, target: Target | None = None, cache: Path | None = None) -> Session:
        """Load `files[0]`. `threads` None leaves the choice to the runtime, `target` None is single precision on the processor. `cache`: a
        folder in which a runtime that compiles may keep what it made. Raises MissingDependencyError, BundleError."""
        ...


def runtime(backend: str) -> Runtime:
    """The module of a backend; importing it does not import the vendor's library."""
    return cast(Runtime, importlib.import_module(MODULES[backend]))
