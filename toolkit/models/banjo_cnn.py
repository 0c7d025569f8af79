"""Banjo CNN: Novokshanov, Jacob, 'Team Banjo - Project Report: Pneumonia X-Ray Classification and Analysis'.

The report gives no widths. Chosen here: 3x3 convolutions of 32, 64 and 128 filters with padding 1, 2x2 pooling, dropout of .25,
128 units with a LeakyReLU between the two linear layers.
"""

from __future__ import annotations

from torch import Tensor, nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ModelError

FILTERS = (32, 64, 128)
HIDDEN = 128
DROPOUT = 0.25
MIN_SIZE_PX = 16


class BanjoCNN(nn.Module):
    """Three blocks of convolution, LeakyReLU, max pooling, dropout; two linear layers; one logit. 4 287 233 trainable
    parameters at 128x128x1."""

    def __init__(self, size_px: int, channels: int) -> None:
        super().__init__()
        if size_px < MIN_SIZE_PX:
            raise ModelError(f"banjo_cnn needs films of at least {MIN_SIZE_PX} px; preprocessing.size_px is {size_px}.")
        blocks: list[nn.Module] = []
        for width_in, width_out in zip((channels, *FILTERS), FILTERS, strict=False):
            blocks += [nn.Conv2d(width_in, width_out, 3, padding=1), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Dropout(DROPOUT)]
        self.features = nn.Sequential(*blocks)
        edge = size_px // 2 ** len(FILTERS)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(FILTERS[-1] * edge * edge, HIDDEN), nn.LeakyReLU(), nn.Linear(HIDDEN, 1))

    def forward(self, image: Tensor) -> Tensor:
        """float32 `[N, 1, 128, 128]` in [0, 1] -> logits `[N]`."""
        logit: Tensor = self.head(self.features(image))  # [N, 1]
        return logit.flatten()


def banjo_cnn(preprocessing: Preprocessing) -> nn.Module:
    """The network for films of this size and number of channels."""
    return BanjoCNN(preprocessing.size_px, preprocessing.channels)
