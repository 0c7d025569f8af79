"""One artifact of a run: its files, its proof against torch, its operating point. Wiring only. Needs the workshop."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from toolkit.core import operating
from toolkit.core.artifacts import Checkpoint, FileEntry
from toolkit.core.bundle import Artifact
from toolkit.core.recipe import Recipe
from toolkit.core.target import Target
from toolkit.data.films import Films
from toolkit.errors import InputError, MissingDependencyError, ModelError
from toolkit.export import to_onnx, to_openvino, to_tensorrt
from toolkit.imaging.decode import Pixels
from toolkit.infer.engine import note_of
from toolkit.infer.machine import why_not
from toolkit.infer.runtimes import Session, runtime
from toolkit.quantize.lower import layer_outputs
from toolkit.train.score import score
from toolkit.validate import departure, parity
from toolkit.validate.evaluate import session_logits

WRITERS = {"onnxruntime": to_onnx, "openvino": to_openvino, "tensorrt-rtx": to_tensorrt, "tensorrt": to_tensorrt}


@dataclass(frozen=True)
class Exporter:
    """Writes the artifacts of one network into `folder`, each checked on the same films."""

    recipe: Recipe
    checkpoint: Checkpoint
    network: nn.Module
    holdout: Films
    folder: Path

    @cached_property
    def films(self) -> Pixels:
        """Held-out films and edge cases."""
        return parity.with_edge_cases(self.holdout.images[: self.recipe.export.parity_films], self.recipe.seed)

    @cached_property
    def expected(self) -> parity.Logits:
        """What torch says of them."""
        return score(self.network, self.films, self.recipe.preprocessing)

    def make(self, target: Target, graph: Path) -> tuple[Artifact, str | None]:
        """The artifact made of `graph`, and why it could not be run here as it is: then it was checked as another runtime or arithmetic
        runs the same file. Raises ParityError when it disagrees with torch."""
        names = WRITERS[target.backend].export(graph, target, self.folder)
        reason = why_not(target)
        if target.needs_engine:
            names, unbuilt = self._with_engine(target, names)
            reason = unbuilt or reason
        shown = target.name if reason is None else f"{target.name}, by a stand-in"
        session = self._session(target, names, reason)
        checked = parity.compare(self.expected, session_logits(session, self.films, f"{shown} on parity films"), self.checkpoint.operating)
        parity.refuse_departure(target.name, target.precision, checked, self.recipe.export, lambda: self._departure(target, names, reason))
        logits = session_logits(session, self.holdout.images, f"{shown} on held-out films")
        artifact = Artifact(
            name=target.name,
            target=target,
            files=tuple(FileEntry.of(self.folder, name) for name in names),
            requires=target.requires,
            operating=self._operating(logits),
            parity=checked,
        )
        return artifact, reason

    def _operating(self, logits: parity.Logits) -> operating.OperatingPoint:
        """Of held-out logits `[N]`."""
        labels, errors = self.holdout.labels, self.recipe.export.uncertain_errors
        point = operating.choose(labels, logits, self.recipe.train.target_recall)
        return point if errors is None else operating.with_band(point, labels, logits, errors)

    def _with_engine(self, target: Target, names: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
        """The files with the engine before the typed graph, where it can be built here; else why not."""
        try:
            note = to_tensorrt.build(self.folder / names[0], target.backend, self.recipe.export.capabilities, self.folder)
        except (MissingDependencyError, InputError) as cause:
            if isinstance(cause, ModelError):
                raise
            return names, f"no engine was built here: {cause}"
        engine = note.engine.path
        return (engine, note_of(self.folder / engine).name, *names), None

    def _session(self, target: Target, names: Sequence[str], reason: str | None) -> Session:
        """Of the artifact itself, or of what stands in for it: the typed graph in ONNX Runtime for an engine, the same file on the
        processor in single precision for another device or arithmetic."""
        if reason and target.needs_engine:
            return runtime("onnxruntime").load([self.folder / names[-1]], threads=1, target=target)
        files = [self.folder / name for name in names]
        return runtime(target.backend).load(files, threads=1, target=None if reason else target)

    def _departure(self, target: Target, names: Sequence[str], reason: str | None) -> str:
        """From which layer on it disagrees."""
        films = self.films[-departure.FILMS :]
        expected = layer_outputs(self.network, self.recipe.preprocessing, films)
        writer = to_openvino if target.backend == "openvino" else to_onnx
        file = self.folder / (names[-1] if target.needs_engine else names[0])
        with tempfile.TemporaryDirectory(prefix="cxr-edge-") as folder:
            exposed = writer.expose_layers(file, Path(folder))
            backend = "openvino" if target.backend == "openvino" else "onnxruntime"
            session = runtime(backend).load([exposed], target=None if reason and not target.needs_engine else target)
            return departure.first_departure(expected, session.outputs(films)[1:], departure.LIMITS[target.precision])
