"""The optimizer and the schedule that a TrainSpec names."""

from __future__ import annotations

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from toolkit.core.recipe import TrainSpec

MONITORED = "holdout_loss"


def configure(parameters: Iterable[nn.Parameter], spec: TrainSpec, batches: int) -> OptimizerLRScheduler:
    """What Lightning wants of `configure_optimizers`; `batches` is how many a whole training has."""
    optimizer = _optimizer(_by_rate(parameters, spec), spec)
    schedule, rates = spec.schedule, [group["lr"] for group in optimizer.param_groups]
    if schedule.name == "plateau":
        plateau = ReduceLROnPlateau(optimizer, factor=schedule.factor, patience=schedule.patience_epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": MONITORED}}
    if schedule.name == "one_cycle":
        warmup = schedule.warmup if schedule.warmup * batches != 1 else schedule.warmup / 2  # torch divides by its length, one less
        cycle = OneCycleLR(optimizer, rates, total_steps=batches, pct_start=warmup, cycle_momentum=False)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}
    if schedule.name == "cosine":
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": CosineAnnealingLR(optimizer, batches), "interval": "step"}}
    return {"optimizer": optimizer}


def _by_rate(parameters: Iterable[nn.Parameter], spec: TrainSpec) -> list[dict[str, Any]]:
    """The parameters that learn, in groups of one learning rate each; the first group is the one that learns fastest."""
    groups: dict[float, list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        if parameter.requires_grad:
            groups[spec.learning_rate * _share_of_rate(parameter, spec.optimizer.fan_in)].append(parameter)
    return [{"params": group, "lr": rate} for rate, group in sorted(groups.items(), reverse=True)]


def _share_of_rate(parameter: nn.Parameter, fan_in: int | None) -> float:
    """1, or fan_in / inputs for the weights `[out, inputs...]` of a layer that has more."""
    if fan_in is None or parameter.ndim < 2:
        return 1.0
    return min(1.0, fan_in / parameter[0].numel())


def _optimizer(parameters: list[dict[str, Any]], spec: TrainSpec) -> torch.optim.Optimizer:
    wanted, rate = spec.optimizer, spec.learning_rate
    if wanted.name == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=wanted.momentum, weight_decay=wanted.weight_decay)
    if wanted.name == "rmsprop":
        return torch.optim.RMSprop(parameters, rate, momentum=wanted.momentum, weight_decay=wanted.weight_decay)
    kind = torch.optim.AdamW if wanted.name == "adamw" else torch.optim.Adam
    return kind(parameters, rate, weight_decay=wanted.weight_decay)
