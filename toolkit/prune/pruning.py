"""What pruning works with: the dense network, how important its channels are, and what a smaller one loses against it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from toolkit.core.operating import losses
from toolkit.core.recipe import PruneSpec, TrainSpec
from toolkit.prune.budget import Gauge
from toolkit.prune.structured import ChannelGraph, Channels, Ratios, cut, importance, kept, least_important, refused
from toolkit.train.module import to_network
from toolkit.train.run import Task
from toolkit.train.score import score

GRADIENT_FILMS = 64  # of each class, for importances that need gradients


@dataclass(frozen=True)
class Pruning:
    """All that pruning works with. `dense` is the network that the recipe trained; it teaches, and is not changed."""

    spec: PruneSpec
    training: TrainSpec
    dense: nn.Module
    task: Task
    gauge: Gauge

    @cached_property
    def groups(self) -> tuple[list[Channels], tuple[str, ...]]:
        """The dense network's channels, and the names of layers that are left dense."""
        return ranked(self, self.dense)

    def narrow(self, widths: Mapping[str, int]) -> nn.Module:
        """The dense network with the least important channels taken out, not recovered."""
        return cut(self.dense, self.task.preprocessing, least_important(self.groups[0], widths))

    def widths(self, ratio: Ratios) -> dict[str, int]:
        """How many channels stay at a ratio."""
        return kept(self.groups[0], self.spec, ratio)

    @cached_property
    def dense_logits(self) -> NDArray[np.float32]:
        """Of the held-out films `[N]`."""
        return score(self.dense, self.task.holdout.images, self.task.preprocessing)

    def losses(self, network: nn.Module) -> tuple[float, float]:
        """Points of recall, and AUC, that `network` loses on held-out patients when it is allowed no more false alarms than the dense
        one at its operating point."""
        logits = score(network, self.task.holdout.images, self.task.preprocessing)
        return losses(self.task.holdout.labels, self.dense_logits, logits, self.training.target_recall)


def ranked(work: Pruning, network: nn.Module) -> tuple[list[Channels], tuple[str, ...]]:
    """The channels of `network` with their importance, and the names of layers that are left dense."""
    torch.manual_seed(work.task.seed)
    preprocessing = work.task.preprocessing
    network = copy.deepcopy(network)
    graph = ChannelGraph(network, preprocessing)
    grade = importance(work.spec, network, lambda: _film_losses(work, network))
    groups = graph.scored(grade)
    refusing = refused(network, preprocessing, groups)
    if refusing:
        groups = [group for group in groups if group.name not in refusing]
    return groups, tuple(dict.fromkeys((*graph.left_dense(), *refusing)))


def _film_losses(work: Pruning, network: nn.Module) -> Sequence[Tensor]:
    """The loss of each of some train films, as many of both classes."""
    films, draw = work.task.train, np.random.default_rng(work.task.seed)
    rows = np.concatenate([draw.permutation(np.flatnonzero(films.labels == label))[:GRADIENT_FILMS] for label in (0, 1)])
    logits = network.eval()(to_network(torch.from_numpy(films.images[rows]).float(), work.task.preprocessing))
    labels = torch.from_numpy(films.labels[rows].astype(np.float32))
    return list(binary_cross_entropy_with_logits(logits, labels, reduction="none"))
