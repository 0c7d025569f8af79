"""OpenVINO. Arithmetic is pinned to what the artifact says, single precision but for bf16 and fp16: accuracy and speed are measured on
the same."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolkit.core.privacy import refuse_telemetry
from toolkit.core.target import Target
from toolkit.errors import BundleError, MissingDependencyError
from toolkit.imaging.decode import Pixels

if TYPE_CHECKING:
    import openvino

REQUIRES = "openvino"
DEVICES = {"gpu": "GPU", "npu": "NPU"}
HINTS = {"bf16": "bf16", "fp16": "f16"}


def is_available() -> bool:
    """True when openvino is installed."""
    return importlib.util.find_spec("openvino") is not None


def why_not(target: Target) -> str | None:
    """Why not on this machine: there is no GPU or NPU that OpenVINO knows."""
    if target.family not in DEVICES:
        return None
    import openvino

    device, found = DEVICES[target.family], openvino.Core().available_devices
    here = any(name.split(".")[0] == device for name in found)
    return None if here else f"OpenVINO finds no {device} here, only {', '.join(found) or 'nothing'}"


class OpenvinoSession:
    """A compiled model with one request."""

    def __init__(self, model: openvino.CompiledModel, tensor: type[openvino.Tensor]) -> None:
        self._request, self._count, self._tensor = model.create_infer_request(), len(model.outputs), tensor

    def logits(self, images: Pixels) -> NDArray[np.float32]:
        """uint8 `[N, 1, H, W]` -> float32 `[N]`."""
        self._run(images)
        return self._output(0)

    def outputs(self, images: Pixels) -> tuple[NDArray[np.float32], ...]:
        """All outputs, in the graph's order."""
        self._run(images)
        return tuple(self._output(place) for place in range(self._count))

    def _run(self, images: Pixels) -> None:
        """Only what is asked for is copied out, which on a small network is a tenth of the time."""
        pixels = np.require(images, requirements=("C", "W"))  # as a shared tensor wants it; held until the answer is there
        self._request.set_input_tensor(self._tensor(pixels, shared_memory=True))
        self._request.infer()

    def _output(self, place: int) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._request.get_output_tensor(place).data.copy()
        return found


def load(files: Sequence[Path], threads: int | None = None, target: Target | None = None) -> OpenvinoSession:
    """Load an IR or ONNX file; raises MissingDependencyError, or BundleError when the runtime refuses the file."""
    refuse_telemetry()
    try:
        import openvino
    except ImportError as cause:
        raise MissingDependencyError("openvino", "openvino", "Running an OpenVINO artifact") from cause
    device = DEVICES.get(str(target.family), "CPU") if target else "CPU"
    hint = HINTS.get(target.precision, "f32") if target else "f32"
    settings: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None and device == "CPU":
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        core = openvino.Core()
        model = core.compile_model(core.read_model(str(files[0])), device, settings)
    except RuntimeError as cause:
        raise BundleError(f"OpenVINO {openvino.__version__} refuses {files[0]}: {cause}") from cause
    return OpenvinoSession(model, openvino.Tensor)
