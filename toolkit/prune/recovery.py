"""How a pruned network recovers: batch norms estimated anew, fine-tuning under the eyes of the dense network."""

from __future__ import annotations

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

import copy
import itertools
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim.swa_utils import update_bn

from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import DistillSpec, RecoverySpec, TrainSpec
from toolkit.data.films import Films
from toolkit.data.loader import batches
from toolkit.prune.unstructured import hold_zeros, release_zeros
from toolkit.train.explain import last_map_layer
from toolkit.train.fit import dropout_times, fit
from toolkit.train.module import Classifier, to_network
from toolkit.train.run import Task
from toolkit.train.teacher import Teacher

DENSE = "the dense network"
STATISTICS_FILMS = 1024


class Attention:
    """Keeps the last maps that a network drew, `[N, C, h, w]`; its hook goes with the network."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        self.maps = torch.empty(0)
        last_map_layer(network, preprocessing).register_forward_hook(self._look)

    def _look(self, _layer: nn.Module, _given: object, output: Tensor) -> None:
        self.maps = output

    @property
    def of_places(self) -> Tensor:
        """Unit vectors `[N, h * w]`: how strong each place is, whatever the number of channels."""
        return normalize(self.maps.float().square().mean(1).flatten(1), dim=1)


class Pupil(Classifier):
    """A pruned network that attends to the places that the dense one attends to (Zagoruyko and Komodakis 2017)."""

    def __init__(self, network: nn.Module, spec: TrainSpec, task: Task, dense: nn.Module, features: float) -> None:
        super().__init__(network, spec, task.preprocessing, task.seed)
        teacher = Teacher(copy.deepcopy(dense), task.preprocessing)
        self.teacher = teacher
        self.features = features
        if features:
            self.mine = Attention(self.network, task.preprocessing)
            self.theirs = Attention(teacher.network, task.preprocessing)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """By labels, soft targets and attention."""
        loss = super().loss(images, labels)
        if not self.features:
            return loss
        if self.spec.distill is None and self.teacher is not None:  # else it was asked just now
            self.teacher(images)
        distance = (self.mine.of_places - self.theirs.of_places).square().sum(1).mean()
        return loss + self.features * distance


def recover(network: nn.Module, dense: nn.Module, spec: RecoverySpec, training: TrainSpec, task: Task, folder: Path) -> int:
    """Let `network` recover (in place) and give the epochs of fine-tuning whose weights were kept; a killed run resumes.

    Weights that are zero stay zero.
    """
    torch.manual_seed(task.seed)
    learner = copy.deepcopy(network)
    hold_zeros(learner)
    pupil = Pupil(learner, tuning(spec, training), task, dense, spec.features)
    if spec.batch_norm:
        estimate_batch_norms(pupil, task.train)
    epochs = fit(pupil, task.train, task.holdout, folder).best_epoch if spec.epochs else 0
    if spec.batch_norm and epochs:
        estimate_batch_norms(pupil, task.train)
    release_zeros(learner)
    network.load_state_dict(learner.state_dict())
    return epochs


def tuning(spec: RecoverySpec, training: TrainSpec) -> TrainSpec:
    """How the fine-tuning trains: as the dense network did, but for what `spec` says."""
    return msgspec.structs.replace(
        training,
        epochs=max(spec.epochs, 1),
        learning_rate=spec.learning_rate,
        schedule=spec.schedule or training.schedule,
        distill=DistillSpec(teacher=DENSE, share=spec.share, temperature=spec.temperature) if spec.share else None,
    )


def estimate_batch_norms(module: Classifier, films: Films) -> None:
    """Mean and variance of every batch norm anew, over augmented train films, with dropout off: as the network will be used."""
    module.train()
    module.generator.manual_seed(module.seed)
    loader = batches(films, module.spec.batch_size, module.seed)
    shown = itertools.islice(loader, max(1, STATISTICS_FILMS // module.spec.batch_size))
    augmented = (module.on_after_batch_transfer(batch, 0)[0] for batch in shown)
    with dropout_times(module.network, 0.0):
        update_bn((to_network(images, module.preprocessing) for images in augmented), module.network)
    module.eval()
