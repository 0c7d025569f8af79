"""The network in training clothes: augmentation, weighted loss, optimizer, held-out metrics."""

from __future__ import annotations

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

from collections.abc import Callable

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from toolkit.core import ranks
from toolkit.core.metrics import roc_auc
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import TrainSpec
from toolkit.data.loader import Batch, EpochOrder
from toolkit.errors import TrainingError
from toolkit.models.standardise import standardise
from toolkit.train.augment import augment
from toolkit.train.freeze import frozen_batch_norms
from toolkit.train.group import share_statistics
from toolkit.train.loss import classification_loss, distillation_loss
from toolkit.train.optimizer import MONITORED, configure

Asked = Callable[[Tensor], Tensor]  # a teacher: float32 0..255 `[N, 1, H, W]` -> logits float32 `[N]`
PLAIN = TrainSpec(model="", epochs=1)  # a loss without smoothing or focus


class Classifier(lightning.LightningModule):
    """Wraps a network of `models`; all randomness of an epoch follows from (seed, epoch), so it resumes exactly.

    `weights` of the classes in the loss, and the `teacher`, are set before training.
    """

    def __init__(self, network: nn.Module, spec: TrainSpec, preprocessing: Preprocessing, seed: int) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.spec = spec
        self.preprocessing = preprocessing
        self.seed = seed
        self.weights = (1.0, 1.0)
        self.teacher: Asked | None = None
        self.generator = torch.Generator()
        self.held_out: list[tuple[Tensor, Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        """float32 0..255 `[N, 1, H, W]` -> logits float32 `[N]`."""
        logits: Tensor = self.network(to_network(images, self.preprocessing))
        return logits.float()

    def train(self, mode: bool = True) -> Classifier:
        """As torch, but frozen batch norms stay in evaluation mode."""
        super().train(mode)
        for layer in frozen_batch_norms(self.network):
            layer.eval()
        return self

    def on_train_epoch_start(self) -> None:
        """Seed the augmentation and the dropout of this epoch: for each process otherwise."""
        process = (ranks.rank(),) if ranks.rank() else ()
        seed = int(np.random.SeedSequence((self.seed, self.current_epoch, *process)).generate_state(1)[0])
        self.generator.manual_seed(seed)
        torch.manual_seed(seed)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """uint8 -> float32 on the training device; while training augmented, copies of the rarer class by their own recipe first."""
        images, labels, copied = batch
        images = images.float()
        if self.training:
            if copied.any():
                images[copied] = augment(images[copied], self.spec.oversample.augment, self.generator)
            images = augment(images, self.spec.augment, self.generator)
        return images, labels, copied

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Of a batch: by the labels, and by the teacher where there is one."""
        logits = self(images)
        loss = classification_loss(logits, labels, self.weights, self.spec)
        if self.teacher is not None and self.spec.distill is not None:
            share = self.spec.distill.share
            loss = (1 - share) * loss + share * distillation_loss(logits, self.teacher(images), self.spec.distill)
        return loss

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss of a batch; raises TrainingError when it is not a number."""
        images, labels, _ = batch
        loss = self.loss(images, labels)
        if not torch.isfinite(loss):
            raise self._broken(f"The loss of epoch {self.current_epoch + 1}, batch {index + 1} is {loss.item()}")
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels), sync_dist=ranks.count() > 1)
        return loss * self._share(index)

    def _share(self, index: int) -> float:
        """Processes' gradients are averaged, whatever part of the batch each had."""
        if ranks.count() == 1:
            return 1.0
        order: EpochOrder = self.trainer.train_dataloader.sampler  # type: ignore[union-attr]
        return order.share(index)

    def on_validation_start(self) -> None:
        """All processes judge the same network on all held-out films, and decide alike."""
        share_statistics(self.network)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Loss on held-out patients, class weights included, nothing smoothed; their scores are kept for the AUC."""
        images, labels, _ = batch
        logits = self(images)
        self.held_out.append((logits, labels))
        self.log(MONITORED, classification_loss(logits, labels, self.weights, PLAIN), batch_size=len(labels))

    def on_validation_epoch_end(self) -> None:
        """AUC on held-out patients; raises TrainingError when the last batches of the epoch broke the network."""
        logits, labels = (torch.cat(part).cpu().numpy() for part in zip(*self.held_out, strict=True))
        self.held_out.clear()
        if not np.isfinite(logits).all():
            raise self._broken(f"After epoch {self.current_epoch + 1} the logits of held-out films are no numbers")
        area = roc_auc(labels.astype(np.int64), logits)
        self.log("holdout_auc", float("nan") if area is None else area)

    def _broken(self, what: str) -> TrainingError:
        return TrainingError(f"{what}: lower train.learning_rate (now {self.spec.learning_rate:g}) and train anew (--redo).")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """As the TrainSpec says."""
        return configure(self.network.parameters(), self.spec, int(self.trainer.estimated_stepping_batches))


def to_network(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """float 0..255 `[N, 1, H, W]` -> scaled, `[N, channels, H, W]`, channels last in memory (1.4 times faster on a CPU).

    Grey becomes three channels here, at the network's door, and not before.
    """
    grey = standardise(images) if preprocessing.normalise == "film" else images
    scaled = (grey * preprocessing.scale + preprocessing.offset).expand(-1, preprocessing.channels, -1, -1)
    return scaled.contiguous(memory_format=torch.channels_last)
