"""Global magnitude pruning (Han et al. 2015) with fine-tuning: the smallest weights become true zeros and stay zero."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from toolkit.core.artifacts import Checkpoint
from toolkit.core.recipe import PruneSpec, TrainSpec
from toolkit.train.fit import fit
from toolkit.train.module import Classifier
from toolkit.train.run import Task, keep


def prune(spec: PruneSpec, training: TrainSpec, network: nn.Module, task: Task, folder: Path) -> Checkpoint:
    """Zero the share `spec.sparsity` of all convolution and linear weights, the smallest first, and fine-tune the rest.

    `training` says how (augmentation, class weights); epochs and learning rate come from `spec`. A killed run resumes.
    """
    torch.manual_seed(task.seed)
    weights = prunable(network)
    torch_prune.global_unstructured(weights, torch_prune.L1Unstructured, amount=spec.sparsity)
    tuning = msgspec.structs.replace(training, epochs=spec.epochs, learning_rate=spec.learning_rate)
    result = fit(Classifier(network, tuning, task.preprocessing, task.seed), task.train, task.holdout, folder)
    for layer, name in weights:
        torch_prune.remove(layer, name)  # type: ignore[no-untyped-call]
    return keep(network, training, task, folder, result.best_epoch, sparsity(network))


def prunable(network: nn.Module) -> list[tuple[nn.Module, str]]:
    """The weights of convolutions and linear layers; biases and batch norms stay whole."""
    return [(layer, "weight") for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def sparsity(network: nn.Module) -> float:
    """The counted share of exact zeros among the prunable weights."""
    tensors = [getattr(layer, name) for layer, name in prunable(network)]
    zeros = sum(int((tensor == 0).sum()) for tensor in tensors)
    return zeros / int(sum(tensor.numel() for tensor in tensors))
