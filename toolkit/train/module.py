"""The network in training clothes: augmentation, weighted loss, optimizer, held-out metrics."""

from __future__ import annotations

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from toolkit.core.metrics import roc_auc
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import TrainSpec
from toolkit.data.loader import Batch
from toolkit.errors import TrainingError
from toolkit.train.augment import augment


class Classifier(lightning.LightningModule):
    """Wraps a network of `models`; all randomness of an epoch follows from (seed, epoch), so it resumes exactly."""

    def __init__(self, network: nn.Module, spec: TrainSpec, preprocessing: Preprocessing, seed: int) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.spec = spec
        self.preprocessing = preprocessing
        self.seed = seed
        self.weights = (1.0, 1.0)
        self.generator = torch.Generator()
        self.held_out: list[tuple[Tensor, Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        """float32 0..255 `[N, 1, H, W]` -> logits float32 `[N]`."""
        logits: Tensor = self.network(to_network(images, self.preprocessing))
        return logits.float()

    def on_train_epoch_start(self) -> None:
        """Seed the augmentation and the dropout of this epoch."""
        seed = int(np.random.SeedSequence((self.seed, self.current_epoch)).generate_state(1)[0])
        self.generator.manual_seed(seed)
        torch.manual_seed(seed)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """uint8 -> float32 on the training device, augmented while training."""
        images, labels = batch[0].float(), batch[1]
        return (augment(images, self.spec.augment, self.generator) if self.training else images), labels

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Weighted binary cross-entropy; raises TrainingError when it is not a number."""
        loss = self._loss(batch)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss of epoch {self.current_epoch + 1}, batch {index + 1} is {loss.item()}; "
                f"the last good epoch is kept. Lower train.learning_rate (now {self.spec.learning_rate:g}) and run again."
            )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[1]))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """Loss on held-out patients; their scores are kept for the AUC."""
        logits = self(batch[0])
        self.held_out.append((logits, batch[1]))
        self.log("holdout_loss", self._weighted(logits, batch[1]), batch_size=len(batch[1]))

    def on_validation_epoch_end(self) -> None:
        """AUC on held-out patients."""
        logits, labels = (torch.cat(part).cpu().numpy() for part in zip(*self.held_out, strict=True))
        self.held_out.clear()
        area = roc_auc(labels.astype(np.int64), logits)
        self.log("holdout_auc", float("nan") if area is None else area)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam; the rate is reduced when the held-out loss stands still."""
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.spec.learning_rate)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=self.spec.plateau_factor, patience=self.spec.plateau_epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "holdout_loss"}}

    def _loss(self, batch: Batch) -> Tensor:
        return self._weighted(self(batch[0]), batch[1])

    def _weighted(self, logits: Tensor, labels: Tensor) -> Tensor:
        negative, positive = self.weights
        return binary_cross_entropy_with_logits(logits, labels, weight=torch.where(labels > 0.5, positive, negative))


def to_network(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """float 0..255 `[N, 1, H, W]` -> scaled, `[N, channels, H, W]`, channels last in memory (1.4 times faster on a CPU)."""
    scaled = (images * preprocessing.scale).expand(-1, preprocessing.channels, -1, -1)
    return scaled.contiguous(memory_format=torch.channels_last)
