"""TensorRT-RTX on an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolkit.core.target import Target
from toolkit.infer import engine
from toolkit.infer.gpu import why_none

REQUIRES = "tensorrt-rtx"


def is_available() -> bool:
    """True when the library and the driver's bindings are installed."""
    return engine.is_available("tensorrt-rtx")


def why_not(_target: Target) -> str | None:
    """Why not on this machine: it has no NVIDIA GPU or no driver. Which GPUs an engine is for stands in its note, which `load` reads."""
    return why_none()


def load(
    files: Sequence[Path],
    threads: int | None = None,  # noqa: ARG001
    target: Target | None = None,
    cache: Path | None = None,  # noqa: ARG001
) -> engine.EngineSession:
    """Load an engine, which holds its own precision; raises MissingDependencyError, or BundleError for another version or another GPU."""
    return engine.load("tensorrt-rtx", files, target)
