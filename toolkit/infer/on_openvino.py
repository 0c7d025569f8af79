"""OpenVINO. Arithmetic is pinned to what the artifact says, single precision but for bf16 and fp16: accuracy and speed are measured on
the same."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.core.privacy import refuse_telemetry
from toolkit.core.target import Target
from toolkit.errors import BundleError, MissingDependencyError
from toolkit.imaging.decode import Pixels
from toolkit.infer.cache import private
from toolkit.infer.machine import adds_bytes_exactly
from toolkit.infer.onnx_guard import check_self_contained

if TYPE_CHECKING:
    import openvino

REQUIRES = "openvino"
IR_SUFFIX = ".xml"
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


class Own(NamedTuple):
    """A thread's request for one film, views of where its input and its answers lie, and its requests for other numbers of films."""

    request: openvino.InferRequest
    film: Pixels
    answers: list[NDArray[np.float32]]
    others: dict[int, openvino.InferRequest]


class OpenvinoSession:
    """A model compiled for one film at a time, and for each other number of films when that is first asked for. Each thread that asks has
    requests of its own."""

    def __init__(self, model: openvino.Model, compiler: Callable[[openvino.Model], openvino.CompiledModel]) -> None:
        self._model, self._compiler, self._count = model, compiler, len(model.outputs)
        self._compiled: dict[int, openvino.CompiledModel] = {}
        self._compiling, self._threads = threading.Lock(), threading.local()
        self._own()

    def _request(self, films: int) -> openvino.InferRequest:
        """Of a model compiled for exactly so many films, once: for any number, int8 gives wrong answers on ARM64 (OpenVINO 2026.4.1)."""
        with self._compiling:
            if films not in self._compiled:
                fixed = self._model.clone()
                fixed.reshape({0: [films, *fixed.inputs[0].partial_shape[1:]]})
                self._compiled[films] = self._compiler(fixed)
            return self._compiled[films].create_infer_request()

    def _own(self) -> Own:
        """This thread's."""
        own: Own | None = getattr(self._threads, "one", None)
        if own is None:
            request = self._request(1)
            answers = [request.get_output_tensor(place).data for place in range(self._count)]
            own = self._threads.one = Own(request, request.get_input_tensor().data, answers, {})
        return own

    def logits(self, images: Pixels) -> NDArray[np.float32]:
        """uint8 `[N, 1, H, W]` -> float32 `[N]`."""
        logits: NDArray[np.float32] = self._run(images)[0].copy()
        return logits

    def outputs(self, images: Pixels) -> tuple[NDArray[np.float32], ...]:
        """All outputs, in the graph's order."""
        return tuple(answer.copy() for answer in self._run(images))

    def _run(self, images: Pixels) -> list[NDArray[np.float32]]:
        """Views of the answers, which the next inference overwrites. What nobody asks for is not copied: on a small network that is a tenth
        of the time."""
        own = self._own()
        if images.shape == own.film.shape:
            own.film[...] = images
            own.request.infer(share_outputs=True)
            return own.answers
        import openvino

        pixels = np.require(images, requirements=("C", "W"))  # as a shared tensor wants it; held until the answer is there
        request = own.others[len(images)] = own.others.get(len(images)) or self._request(len(images))
        request.set_input_tensor(openvino.Tensor(pixels, shared_memory=True))
        request.infer(share_outputs=True)
        return [request.get_output_tensor(place).data for place in range(self._count)]


def load(files: Sequence[Path], threads: int | None = None, target: Target | None = None, cache: Path | None = None) -> OpenvinoSession:
    """Load an IR or ONNX file; raises MissingDependencyError, or BundleError when the runtime refuses it, or an ONNX file names others.

    An IR's weights lie beside it under its own name; OpenVINO refuses an offset beyond them (2026.4.1, tests/infer/test_bundle_attacks.py).
    """
    refuse_telemetry()
    if files[0].suffix != IR_SUFFIX:  # OpenVINO tells other formats by their suffix
        check_self_contained(files[0])
    try:
        import openvino
    except ImportError as cause:
        raise MissingDependencyError("openvino", "openvino", "Running an OpenVINO artifact") from cause
    device = DEVICES.get(str(target.family), "CPU") if target else "CPU"
    hint = HINTS.get(target.precision, "f32") if target else "f32"
    settings: dict[str, str | int | bool] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    if target is not None and not adds_bytes_exactly(target):
        settings["LP_TRANSFORMS_MODE"] = "NO"  # as the graph is written, without int8 kernels
    if threads is not None and device == "CPU":
        settings["INFERENCE_NUM_THREADS"] = threads
        if threads == 1:  # pinned, it would wait for the one core that every other session of one thread is pinned to as well
            settings["ENABLE_CPU_PINNING"] = False
    kept = private(cache) if cache else None
    if kept:
        settings["CACHE_DIR"] = str(kept)
    try:
        core = openvino.Core()
        return OpenvinoSession(core.read_model(str(files[0])), lambda model: core.compile_model(model, device, settings))
    except RuntimeError as cause:
        raise BundleError(f"OpenVINO {openvino.__version__} refuses {files[0]}: {cause}") from cause
