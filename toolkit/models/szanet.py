"""SZANet: Gupta, Mishra, Yang, 'Pneumonia Diagnosis via Chest X-ray Image Classification using Deep Learning and
Transfer Learning'. The report used Keras; where it is silent, Keras' defaults hold."""

from __future__ import annotations

from torch import Tensor, nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ModelError
from toolkit.models.keras import batch_norm, initialise_as_keras

FILTERS = (16, 32, 64)
BLOCK_DROPOUT = (0.2, 0.2, 0.4)
HIDDEN = 64
HEAD_DROPOUT = 0.5
MIN_SIZE_PX = 22  # below, the third block has nothing left to pool


class SZANet(nn.Module):
    """Three blocks of 3x3 convolution, batch norm, ReLU, pooling, dropout; 64 units; one logit.

    2 792 833 trainable parameters at 224x224x3. The sigmoid of the report is left to the loss and to the clinic's side.
    """

    def __init__(self, size_px: int = 224, channels: int = 3) -> None:
        super().__init__()
        if size_px < MIN_SIZE_PX:
            raise ModelError(f"szanet needs films of at least {MIN_SIZE_PX} px; preprocessing.size_px is {size_px}.")
        blocks: list[nn.Module] = []
        edge = size_px
        for width_in, width_out, dropout in zip((channels, *FILTERS), FILTERS, BLOCK_DROPOUT, strict=False):
            blocks.append(_block(width_in, width_out, dropout))
            edge = (edge - 2) // 2
        self.features = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(FILTERS[-1] * edge * edge, HIDDEN),
            nn.ReLU(),
            nn.Dropout(HEAD_DROPOUT),
            nn.Linear(HIDDEN, 1),
        )
        self.apply(initialise_as_keras)

    def forward(self, image: Tensor) -> Tensor:
        """float32 `[N, 3, 224, 224]` in [0, 1] -> logits `[N]`."""
        maps = self.features(image)  # [N, 64, 26, 26]
        logit: Tensor = self.head(maps)  # [N, 1]
        return logit.flatten()


def _block(width_in: int, width_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3),
        batch_norm(width_out),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(dropout),
    )


def szanet(preprocessing: Preprocessing) -> nn.Module:
    """The network for films of this size and number of channels."""
    return SZANet(preprocessing.size_px, preprocessing.channels)
