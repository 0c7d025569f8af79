"""Which int8 graph each target gets: the ladder with its makers, its judge and its fine-tuning. Wiring only. Needs the workshop."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from toolkit.core.files import storage_errors, write_atomically
from toolkit.core.operating import losses
from toolkit.core.recipe import Recipe
from toolkit.core.reports import QuantizeAttempt
from toolkit.core.target import Target
from toolkit.export import to_onnx, to_openvino
from toolkit.imaging.decode import Pixels
from toolkit.infer.runtimes import Session, runtime
from toolkit.quantize import for_onnxruntime, for_openvino
from toolkit.quantize.calibration import calibration_images
from toolkit.quantize.ladder import Files, Ladder, Loss, Settings, climb
from toolkit.quantize.lower import lower
from toolkit.train.fake_quantize import fine_tune
from toolkit.train.run import Task
from toolkit.train.score import score
from toolkit.validate.departure import FILMS, relative_error
from toolkit.validate.evaluate import session_logits
from toolkit.validate.parity import parity_rows, relative_errors, with_edge_cases

FINE_TUNING, FINE_TUNED = "fine-tuning", "fine-tuned.onnx"


@dataclass(frozen=True)
class Int8:
    """Makes the int8 graphs of one network, beside its float ONNX graph."""

    recipe: Recipe
    network: nn.Module
    task: Task
    graph: Path

    @cached_property
    def calibration(self) -> Pixels:
        """Films of train."""
        return calibration_images(self.task.train, self.recipe.quantize.calibration_films, self.recipe.seed)

    @cached_property
    def films(self) -> Pixels:
        """All held-out films, and the edge cases behind them."""
        return with_edge_cases(self.task.holdout.images, self.recipe.seed)

    @cached_property
    def expected(self) -> NDArray[np.float32]:
        """The network's logits of them."""
        return score(self.network, self.films, self.recipe.preprocessing)

    def climb(self, target: Target) -> tuple[tuple[QuantizeAttempt, ...], Files]:
        """What was tried for a target, and the files of the one that was chosen."""
        spec = self.recipe.quantize
        controlled = target.precision == "int8ac"
        room = for_openvino if target.backend == "openvino" else for_onnxruntime
        rungs = () if controlled else tuple(rung for rung in spec.ladder if rung in room.RUNGS)
        ladder = Ladder(
            artifact=target.name,
            spec=spec,
            max_mean_logit_error=self.recipe.export.mean_logit_error_int8,
            rungs=rungs,
            make=lambda settings: self._make(target, settings),
            judge=lambda files: self._judge(target, files),
            worst=lambda files: self._worst(target, files),
            layers=room.layer_names(self.graph),
            fine_tuned=self._fine_tuned,
        )
        attempts = climb(ladder, Settings(self.graph, spec.method, spec.bias_correction, controlled))
        return attempts, self._files(target)

    def _files(self, target: Target) -> Files:
        first = self.graph.parent / f"{target.name}{'.xml' if target.backend == 'openvino' else '.onnx'}"
        return (first, first.with_suffix(".bin")) if target.backend == "openvino" else (first,)

    def _make(self, target: Target, settings: Settings) -> Files:
        files = self._files(target)
        with storage_errors(files[0]):
            if target.backend == "openvino":
                holdout = self.task.holdout
                control = for_openvino.Control(holdout.images, holdout.labels, self.recipe.quantize.max_roc_auc_loss)
                return for_openvino.quantize(self.calibration, settings, files[0], control)
            return for_onnxruntime.quantize(self.calibration, settings, files[0], for_onnxruntime.FORMS[target.family])

    def _judge(self, target: Target, files: Files) -> Loss:
        logits = session_logits(_session(target, files), self.films, f"{target.name} on held-out films")
        labels = self.task.holdout.labels
        before, after = (values[: len(labels)] for values in (self.expected, logits))
        recall, area = losses(labels, before, after, self.recipe.train.target_recall)
        of_parity = parity_rows(len(labels), self.recipe.export.parity_films)
        error = relative_errors(self.expected[of_parity], logits[of_parity]).mean()
        return Loss(mean_logit_error=float(error), recall_loss_pt=recall, roc_auc_loss=area)

    def _worst(self, target: Target, files: Files) -> Sequence[int]:
        """Layers by how much the error grows in them."""
        before, after = (_layers(target, file, self.calibration[:FILMS]) for file in (self.graph, files[0]))
        errors = np.array([relative_error(*pair) for pair in zip(before, after, strict=True)])
        order: list[int] = np.argsort(-np.diff(errors, prepend=0), kind="stable").tolist()
        return order

    def _fine_tuned(self) -> Path:
        """The float graph of the network after fine-tuning, which is done once."""
        file = self.graph.parent / FINE_TUNED
        if not file.is_file():
            recipe = self.recipe
            network = fine_tune(self.network, recipe.quantize.fine_tuning, recipe.train, self.task, self.graph.parent / FINE_TUNING)
            write_atomically(file, lower(network, recipe.preprocessing, recipe.export.opset))
        return file


def _session(target: Target, files: Files) -> Session:
    """TensorRT's graphs are judged by ONNX Runtime, which reads them too."""
    backend = "openvino" if target.backend == "openvino" else "onnxruntime"
    return runtime(backend).load(files, threads=1, target=target)


def _layers(target: Target, file: Path, films: Pixels) -> tuple[NDArray[np.float32], ...]:
    writer = to_openvino if target.backend == "openvino" else to_onnx
    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as folder:
        return _session(target, (writer.expose_layers(file, Path(folder)),)).outputs(films)[1:]
