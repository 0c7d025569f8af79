"""OpenVINO on the processor. Arithmetic is pinned to single precision, so that accuracy and speed are measured on the same."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolkit.core.privacy import refuse_telemetry
from toolkit.errors import BundleError, MissingDependencyError
from toolkit.imaging.decode import Pixels

if TYPE_CHECKING:
    import openvino

REQUIRES = "openvino"


def is_available() -> bool:
    """True when openvino is installed."""
    return importlib.util.find_spec("openvino") is not None


class OpenvinoSession:
    """A compiled model with one request."""

    def __init__(self, model: openvino.CompiledModel) -> None:
        self._request = model.create_infer_request()

    def logits(self, images: Pixels) -> NDArray[np.float32]:
        """uint8 `[N, 1, H, W]` -> float32 `[N]`."""
        found: NDArray[np.float32] = self._request.infer({0: images}, share_inputs=True, share_outputs=False)[0]
        return found


def load(files: Sequence[Path], threads: int | None = None) -> OpenvinoSession:
    """Load an IR or ONNX file; raises MissingDependencyError, or BundleError when the runtime refuses the file."""
    refuse_telemetry()
    try:
        import openvino
    except ImportError as cause:
        raise MissingDependencyError("openvino", "openvino", "Running an OpenVINO artifact") from cause
    settings: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        core = openvino.Core()
        model = core.compile_model(core.read_model(str(files[0])), "CPU", settings)
    except RuntimeError as cause:
        raise BundleError(f"OpenVINO {openvino.__version__} refuses {files[0]}: {cause}") from cause
    return OpenvinoSession(model)
