"""The stage `train`: a TrainSpec and films in, a Checkpoint out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from toolkit.core import operating
from toolkit.core.artifacts import Checkpoint, Provenance
from toolkit.core.files import sha256_of_bytes
from toolkit.core.labels import Labels
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import TrainSpec
from toolkit.data.films import Films
from toolkit.models.registry import build
from toolkit.train.checkpoint import save_checkpoint, weights_of
from toolkit.train.fit import fit
from toolkit.train.module import Classifier
from toolkit.train.score import score


@dataclass(frozen=True)
class Task:
    """What training and pruning both work on: films of train patients and of held-out ones, and how they are seen."""

    train: Films
    holdout: Films
    preprocessing: Preprocessing
    labels: Labels
    seed: int
    provenance: Provenance


def train(spec: TrainSpec, task: Task, folder: Path) -> Checkpoint:
    """Train from scratch, or go on where a killed run stopped; leaves the checkpoint and `history.csv` in `folder`."""
    torch.manual_seed(task.seed)
    network = build(spec.model, task.preprocessing)
    module = Classifier(network, spec, task.preprocessing, task.seed)
    result = fit(module, task.train, task.holdout, folder)
    return keep(network, spec, task, folder, result.epochs)


def keep(network: nn.Module, spec: TrainSpec, task: Task, folder: Path, epochs: int, sparsity: float = 0.0) -> Checkpoint:
    """Choose the operating point on held-out patients and save the network with it."""
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
        provenance=task.provenance,
    )
    save_checkpoint(folder, checkpoint, weights)
    return checkpoint
