"""CNN_94 and CNN_V2: Chapin, Eriksson, Sjögren, 'Pneumonia Detection of Chest X-Ray Images', tables I and II.

As the report says, a LeakyReLU (torch's slope of .01) follows every convolution and every linear layer, the last one included.
Convolutions pad nothing; poolings are 2x2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ModelError
from toolkit.models.logit import one_logit

MIN_SIZE_PX = 40


class LeakyCNN(nn.Module):
    """`features`, then linear layers of 1000 (batch norm), 100, 10 and 2 units."""

    def __init__(self, features: nn.Sequential, size_px: int, channels: int, first_dropout: float) -> None:
        super().__init__()
        if size_px < MIN_SIZE_PX:
            raise ModelError(f"cnn_94 and cnn_v2 need films of at least {MIN_SIZE_PX} px; preprocessing.size_px is {size_px}.")
        self.features = features
        with torch.no_grad():
            flat = features.eval()(torch.zeros(1, channels, size_px, size_px)).numel()
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(flat, 1000),
            nn.LeakyReLU(),
            nn.BatchNorm1d(1000),
            nn.Dropout(first_dropout),
            nn.Linear(1000, 100),
            nn.LeakyReLU(),
            nn.Dropout(0.3),
            nn.Linear(100, 10),
            nn.LeakyReLU(),
            nn.Linear(10, 2),
            nn.LeakyReLU(),
        )
        self.train()

    def forward(self, image: Tensor) -> Tensor:
        """float32 `[N, 1, 100, 100]` in [0, 1] -> logits `[N]`."""
        return one_logit(self.head(self.features(image)))


def cnn_94(preprocessing: Preprocessing) -> nn.Module:
    """Three convolutions; 10 694 150 trainable parameters at 100x100x1."""
    features = nn.Sequential(
        *_convolution(preprocessing.channels, 12, 3),  # [N, 12, 98, 98]
        nn.MaxPool2d(2),  # [N, 12, 49, 49]
        nn.BatchNorm2d(12),
        *_convolution(12, 18, 3),  # [N, 18, 47, 47]
        nn.MaxPool2d(2),  # [N, 18, 23, 23]
        *_convolution(18, 24, 3),  # [N, 24, 21, 21]
    )
    return LeakyCNN(features, preprocessing.size_px, preprocessing.channels, first_dropout=0.3)


def cnn_v2(preprocessing: Preprocessing) -> nn.Module:
    """Five convolutions, dropout before the last pooling; 4 910 568 trainable parameters at 100x100x1."""
    features = nn.Sequential(
        *_convolution(preprocessing.channels, 12, 5),  # [N, 12, 96, 96]
        nn.MaxPool2d(2),  # [N, 12, 48, 48]
        nn.BatchNorm2d(12),
        *_convolution(12, 12, 3),  # [N, 12, 46, 46]
        *_convolution(12, 16, 3),  # [N, 16, 44, 44]
        *_convolution(16, 12, 3),  # [N, 12, 42, 42]
        *_convolution(12, 12, 3),  # [N, 12, 40, 40]
        nn.Dropout(0.3),
        nn.MaxPool2d(2),  # [N, 12, 20, 20]
    )
    return LeakyCNN(features, preprocessing.size_px, preprocessing.channels, first_dropout=0.0)


def _convolution(width_in: int, width_out: int, edge: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(width_in, width_out, edge), nn.LeakyReLU()
