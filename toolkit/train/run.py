"""The stage `train`: a TrainSpec and films in, a Checkpoint out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from toolkit.core import operating, ranks
from toolkit.core.artifacts import Checkpoint, Provenance
from toolkit.core.files import sha256_of_bytes
from toolkit.core.labels import Labels
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import TrainSpec
from toolkit.data.films import Films
from toolkit.errors import ModelError, TrainingError
from toolkit.models.registry import build
from toolkit.models.resize import changed_widths
from toolkit.train.checkpoint import load_checkpoint, save_checkpoint, weights_of
from toolkit.train.fit import fit
from toolkit.train.freeze import train_only
from toolkit.train.module import Classifier
from toolkit.train.score import score
from toolkit.train.teacher import teacher_of
from toolkit.train.weights import initialise

LAST_GOOD = "last_good"


@dataclass(frozen=True)
class Task:
    """What training and pruning both work on: films of train patients and of held-out ones, and how they are seen."""

    train: Films
    holdout: Films
    preprocessing: Preprocessing
    labels: Labels
    seed: int
    provenance: Provenance


def train(spec: TrainSpec, task: Task, folder: Path) -> Checkpoint | None:
    """Train, or go on where a killed run stopped; leaves the checkpoint and `history.csv` in `folder`. Of several processes the first one
    writes, the others give None.

    When the loss stops being a number, the best epoch so far is left as a checkpoint in `last_good` beside `folder`.
    """
    torch.manual_seed(task.seed)
    network = fresh_network(spec, task.preprocessing)
    module = Classifier(network, spec, task.preprocessing, task.seed)
    module.teacher = teacher_of(spec, task.preprocessing)
    try:
        result = fit(module, task.train, task.holdout, folder)
    except TrainingError as error:
        if error.epoch:
            good = folder.with_name(LAST_GOOD)
            keep(network, spec, task, good, error.epoch)
            raise TrainingError(f"{error} The checkpoint of epoch {error.epoch} is kept in {good}.") from error
        raise
    if not ranks.is_first():
        return None
    return keep(network, spec, task, folder, result.best_epoch)


def fresh_network(spec: TrainSpec, preprocessing: Preprocessing) -> nn.Module:
    """The network that training begins with: built, filled as `weights` says, frozen as `trainable` says.

    `weights` may be the folder of a checkpoint: its network, pruned as it may be, is trained on.
    """
    if Path(spec.weights).is_dir():
        network = _network_of(Path(spec.weights), spec, preprocessing)
    else:
        network = build(spec.model, preprocessing)
        initialise(network, spec.weights)
    train_only(network, spec.trainable)
    return network


def _network_of(folder: Path, spec: TrainSpec, preprocessing: Preprocessing) -> nn.Module:
    described, network = load_checkpoint(folder)
    if (described.model, described.preprocessing) != (spec.model, preprocessing):
        raise ModelError(
            f"The checkpoint in {folder} is a {described.model} for films of {described.preprocessing.size_px} px; this recipe trains "
            f"{spec.model} for {preprocessing.size_px} px: take its model and its section 'preprocessing'."
        )
    return network


def keep(network: nn.Module, spec: TrainSpec, task: Task, folder: Path, epochs: int, sparsity: float = 0.0) -> Checkpoint:
    """Choose the operating point on held-out patients and save the network with it, and with the widths that its model has otherwise."""
    logits = score(network, task.holdout.images, task.preprocessing)
    weights = weights_of(network)
    checkpoint = Checkpoint(
        model=spec.model,
        preprocessing=task.preprocessing,
        labels=task.labels,
        operating=operating.choose(task.holdout.labels, logits, spec.target_recall),
        weights_sha256=sha256_of_bytes(weights),
        epochs=epochs,
        sparsity=sparsity,
        widths=changed_widths(network, build(spec.model, task.preprocessing)),
        provenance=task.provenance,
    )
    save_checkpoint(folder, checkpoint, weights)
    return checkpoint
