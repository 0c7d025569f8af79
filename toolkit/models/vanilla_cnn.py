"""Vanilla and optimized CNN: Masson, 'Pneumonia detection based on chest X-Ray Images', figures 4 and 5.

Four 2x2 convolutions of stride 2 and four poolings, all with padding 'same' (without it the last pooling of 4 would have nothing left);
500 and 2 units, whose softmax is the sigmoid of their difference. The report does not place the two dropouts of the optimized one:
.2 follows the last pooling here, .4 the 500 units. Input 224x224x3 in [0, 1].
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import pad

from toolkit.core.preprocessing import Preprocessing
from toolkit.models.keras import initialise_as_keras
from toolkit.models.logit import one_logit

FILTERS = (16, 32, 64, 16)
POOLS = (2, 2, 2, 4)
HIDDEN = 500


class SameConv2d(nn.Conv2d):
    """2x2 convolution of stride 2 with padding 'same': an odd edge gets one row of zeros at its end."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(width_in, width_out, 2, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        """`[N, C, H, W]` -> `[N, C', ceil(H / 2), ceil(W / 2)]`."""
        return super().forward(pad(image, (0, image.shape[-1] % 2, 0, image.shape[-2] % 2)))


class VanillaCNN(nn.Module):
    """24 158 trainable parameters at 224x224x3."""

    def __init__(self, size_px: int, channels: int, dropout: tuple[float, float]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        edge = size_px
        for width_in, width_out, pool in zip((channels, *FILTERS), FILTERS, POOLS, strict=False):
            layers += [SameConv2d(width_in, width_out), nn.ReLU(), nn.MaxPool2d(pool, ceil_mode=True)]
            edge = math.ceil(math.ceil(edge / 2) / pool)
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout[0]),
            nn.Linear(FILTERS[-1] * edge * edge, HIDDEN),
            nn.ReLU(),
            nn.Dropout(dropout[1]),
            nn.Linear(HIDDEN, 2),
        )
        self.apply(initialise_as_keras)

    def forward(self, image: Tensor) -> Tensor:
        """float32 `[N, 3, 224, 224]` in [0, 1] -> logits `[N]`."""
        return one_logit(self.head(self.features(image)))


def vanilla_cnn(preprocessing: Preprocessing) -> nn.Module:
    """Without dropout."""
    return VanillaCNN(preprocessing.size_px, preprocessing.channels, (0.0, 0.0))


def optimized_cnn(preprocessing: Preprocessing) -> nn.Module:
    """With dropout."""
    return VanillaCNN(preprocessing.size_px, preprocessing.channels, (0.2, 0.4))
