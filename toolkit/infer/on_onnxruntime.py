"""ONNX Runtime on the processor."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolkit.core.privacy import refuse_telemetry
from toolkit.core.target import AS_WRITTEN, Target
from toolkit.errors import BundleError, MissingDependencyError
from toolkit.imaging.decode import Pixels
from toolkit.infer.machine import adds_bytes_exactly
from toolkit.infer.onnx_guard import check_self_contained

if TYPE_CHECKING:
    import onnxruntime

REQUIRES = ""


def is_available() -> bool:
    """True when onnxruntime is installed."""
    return importlib.util.find_spec("onnxruntime") is not None


def why_not(_target: Target) -> str | None:
    """None: what loads runs."""
    return None


class OnnxSession:
    """A loaded ONNX graph."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._run = session.run

    def logits(self, images: Pixels) -> NDArray[np.float32]:
        """uint8 `[N, 1, H, W]` -> float32 `[N]`."""
        result: NDArray[np.float32] = self._run(("logit",), {"image": images})[0]
        return result

    def outputs(self, images: Pixels) -> tuple[NDArray[np.float32], ...]:
        """All outputs, in the graph's order."""
        return tuple(self._run(None, {"image": images}))


def load(
    files: Sequence[Path],
    threads: int | None = None,
    target: Target | None = None,
    cache: Path | None = None,  # noqa: ARG001
) -> OnnxSession:
    """Load an ONNX file, which holds its own precision; raises MissingDependencyError, or BundleError when the runtime refuses the file, or
    the file names others.

    An int8 graph whose kernels would overflow on this processor is calculated as it is written, in single precision: slowly and right.
    """
    refuse_telemetry()
    check_self_contained(files[0])
    try:
        import onnxruntime
    except ImportError as cause:
        raise MissingDependencyError("onnxruntime", "workshop", "Running an ONNX artifact") from cause
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if target is not None and not adds_bytes_exactly(target):
        options.add_session_config_entry(*AS_WRITTEN)
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(files[0]), options, providers=["CPUExecutionProvider"])
    except Exception as cause:  # onnxruntime's own errors share no other base
        raise BundleError(f"ONNX Runtime {onnxruntime.__version__} refuses {files[0]}: {cause}") from cause
    return OnnxSession(session)
