"""Engines: a strongly typed ONNX graph compiled for named kinds of GPU (TensorRT-RTX), or for the GPU that is here (TensorRT)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.core.artifacts import EngineNote, FileEntry, TensorNote
from toolkit.core.codec import encode_json
from toolkit.core.files import sha256_of_bytes, write_atomically
from toolkit.core.target import Backend, Target
from toolkit.errors import InputError, ModelError
from toolkit.export.typed import typed
from toolkit.infer import engine
from toolkit.infer.gpu import Gpu, why_none

REQUIRES = ("tensorrt-rtx", "tensorrt")  # each backend's extra has its name
MAX_BATCH = 16
INT8 = "int8-symmetric"  # other runtimes' int8 is another file


def is_available(backend: Backend) -> bool:
    """True when the backend's packages are installed: TensorRT-RTX builds without a GPU, TensorRT needs one."""
    return engine.is_available(backend)


def capabilities_of(backend: Backend) -> tuple[str, ...]:
    """The compute capabilities that a graph can be built for by name; none for TensorRT, which takes the GPU that is here."""
    if backend == "tensorrt":
        return ()
    known = engine.library(backend, "Building an engine").ComputeCapability.__members__
    return tuple(f"{name[2:-1]}.{name[-1]}" for name in known if name.startswith("SM"))


def export(graph: Path, target: Target, folder: Path) -> tuple[str, ...]:
    """Write the typed ONNX graph of an artifact into `folder` and give its name; `build` makes the engine of it, here or on the device.

    Both backends share it; in single precision it is the file that other runtimes read.
    """
    name = f"{INT8 if target.is_int8 else target.precision}.onnx"
    write_atomically(folder / name, typed(graph, target.precision))
    return (name,)


def build(typed_graph: Path, backend: Backend, capabilities: Sequence[str], folder: Path) -> EngineNote:
    """Write `<backend>-<stem of the graph>.engine` into `folder`, its note beside it as `.engine.json`, and give the note.

    TensorRT-RTX builds for GPUs of the `capabilities`, such as ("8.0", "8.6"), of Ampere and all later where none is named; TensorRT for
    the GPU that is here, whatever is named. The batch is dynamic, 1 to MAX_BATCH. Raises ModelError for an operator or a capability that
    the library does not take, InputError where TensorRT has no GPU, MissingDependencyError.
    """
    trt = engine.library(backend, "Building an engine")
    aims = tuple(capabilities) if backend == "tensorrt-rtx" else (_gpu_here(),)
    raw, file = typed_graph.read_bytes(), f"{backend}-{typed_graph.stem}{engine.SUFFIX}"
    work = _Work(trt, f"{engine.NAMES[backend]} {trt.__version__}", typed_graph.name)
    work.parse(raw)
    write_atomically(folder / file, work.compile(aims if backend == "tensorrt-rtx" else ()))
    note = EngineNote(
        backend=backend,
        version=trt.__version__,
        capabilities=aims,
        max_batch=MAX_BATCH,
        inputs=work.inputs(),
        outputs=work.outputs(),
        graph_sha256=sha256_of_bytes(raw),
        engine=FileEntry.of(folder, file),
    )
    write_atomically(engine.note_of(folder / file), encode_json(note))
    return note


def _gpu_here() -> str:
    reason = why_none()
    if reason:
        raise InputError(f"TensorRT builds an engine for the GPU that is here, and {reason}; build on the device, or for TensorRT-RTX.")
    return Gpu().capability


class _Work:
    """One graph on its way through the library; `who` and `what` name both in errors."""

    def __init__(self, trt: Any, who: str, what: str) -> None:
        self._trt, self._who, self._what = trt, who, what
        self._heard = engine.listener(trt)
        self._builder = trt.Builder(self._heard)
        self._network = self._builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))

    def parse(self, graph: bytes) -> None:
        """Read the ONNX graph; raises ModelError that names the operator that is not taken."""
        parser = self._trt.OnnxParser(self._network, self._heard)
        if not parser.parse(graph):
            error = parser.get_error(0)
            operator = error.node_operator()
            takes = f"cannot take operator {operator} (node {error.node_name()}) of" if operator else "cannot read"
            raise ModelError(f"{self._who} {takes} {self._what}: {error.desc()}")

    def compile(self, capabilities: Sequence[str]) -> bytes:
        """The serialised engine; raises ModelError when there is no kernel for an operator, or no such capability."""
        config = self._builder.create_builder_config()
        config.add_optimization_profile(self._profile())
        if capabilities:
            self._aim(config, capabilities)
        found = self._builder.build_serialized_network(self._network, config)
        if found is None:
            aims = f" for compute capability {', '.join(capabilities)}" if capabilities else ""
            raise ModelError(f"{self._who} cannot build {self._what}{aims}: {self._heard.problems()}")
        return bytes(found)

    def inputs(self) -> tuple[TensorNote, ...]:
        """What the graph takes."""
        return tuple(self._tensor(self._network.get_input(place)) for place in range(self._network.num_inputs))

    def outputs(self) -> tuple[TensorNote, ...]:
        """What the graph gives."""
        return tuple(self._tensor(self._network.get_output(place)) for place in range(self._network.num_outputs))

    def _profile(self) -> Any:
        """Batches of 1 to MAX_BATCH, one film before all."""
        profile = self._builder.create_optimization_profile()
        for tensor in self.inputs():
            one, most = ((batch, *tensor.shape[1:]) for batch in (1, MAX_BATCH))
            profile.set_shape(tensor.name, one, one, most)
        return profile

    def _aim(self, config: Any, capabilities: Sequence[str]) -> None:
        known = capabilities_of("tensorrt-rtx")
        config.num_compute_capabilities = len(capabilities)
        for place, capability in enumerate(capabilities):
            if capability not in known:
                raise ModelError(f"{self._who} does not build for compute capability {capability}; it builds for {', '.join(known)}.")
            config.set_compute_capability(getattr(self._trt.ComputeCapability, f"SM{capability.replace('.', '')}"), place)

    def _tensor(self, tensor: Any) -> TensorNote:
        return TensorNote(name=tensor.name, dtype=np.dtype(self._trt.nptype(tensor.dtype)).name, shape=tuple(tensor.shape))
