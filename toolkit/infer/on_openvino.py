"""OpenVINO. Arithmetic is pinned to what the artifact says, single precision but for bf16 and fp16: accuracy and speed are measured on
the same."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
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
    """A model compiled for one film at a time, and for each other number of films when that is first asked for."""

    def __init__(self, model: openvino.Model, compiler: Callable[[openvino.Model], openvino.CompiledModel]) -> None:
        self._model, self._compiler, self._count = model, compiler, len(model.outputs)
        self._requests: dict[int, openvino.InferRequest] = {}
        self._one = self._request(1)
        self._film = self._one.get_input_tensor().data

    def _request(self, films: int) -> openvino.InferRequest:
        """Compiled for exactly so many films, once: for any number, int8 gives wrong answers on ARM64 (OpenVINO 2026.4.1)."""
        if films not in self._requests:
            fixed = self._model.clone()
            fixed.reshape({0: [films, *fixed.inputs[0].partial_shape[1:]]})
            self._requests[films] = self._compiler(fixed).create_infer_request()
        return self._requests[films]

    def logits(self, images: Pixels) -> NDArray[np.float32]:
        """uint8 `[N, 1, H, W]` -> float32 `[N]`."""
        return self._output(self._run(images), 0)

    def outputs(self, images: Pixels) -> tuple[NDArray[np.float32], ...]:
        """All outputs, in the graph's order."""
        request = self._run(images)
        return tuple(self._output(request, place) for place in range(self._count))

    def _run(self, images: Pixels) -> openvino.InferRequest:
        """The request that has the answer. What nobody asks for is not copied out of it: on a small network that is a tenth of the time."""
        if images.shape == self._film.shape:
            self._film[...] = images
            request = self._one
        else:
            import openvino

            pixels = np.require(images, requirements=("C", "W"))  # as a shared tensor wants it; held until the answer is there
            request = self._request(len(images))
            request.set_input_tensor(openvino.Tensor(pixels, shared_memory=True))
        request.infer(share_outputs=True)
        return request

    @staticmethod
    def _output(request: openvino.InferRequest, place: int) -> NDArray[np.float32]:
        found: NDArray[np.float32] = request.get_output_tensor(place).data.copy()
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
        return OpenvinoSession(core.read_model(str(files[0])), lambda model: core.compile_model(model, device, settings))
    except RuntimeError as cause:
        raise BundleError(f"OpenVINO {openvino.__version__} refuses {files[0]}: {cause}") from cause
