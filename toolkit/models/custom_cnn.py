"""Custom CNN: Ganesh, 'CNNs for Identifying Pneumonia in Chest X-ray Images', figure 28. The report used Keras, whose defaults hold.

Its printed code has five batch norms (704 values that are not trained), its printed summary 960: one more batch norm over 128
channels. It is placed after the 128 units here; with it both counts fit exactly.
"""

from __future__ import annotations

from torch import Tensor, nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ModelError
from toolkit.models.keras import batch_norm, initialise_as_keras

FILTERS = (32, 64, 64, 64, 128)
HIDDEN = (128, 64)
MIN_SIZE_PX = 32


class CustomCNN(nn.Module):
    """Five blocks of 3x3 convolution, ReLU, batch norm, pooling; 128 and 64 units; one logit.

    979 329 trainable parameters at 224x224x3, and 960 running statistics.
    """

    def __init__(self, size_px: int = 224, channels: int = 3) -> None:
        super().__init__()
        if size_px < MIN_SIZE_PX:
            raise ModelError(f"custom_cnn needs films of at least {MIN_SIZE_PX} px; preprocessing.size_px is {size_px}.")
        blocks: list[nn.Module] = []
        edge = size_px
        for place, (width_in, width_out) in enumerate(zip((channels, *FILTERS), FILTERS, strict=False)):
            same = place in (0, len(FILTERS) - 1)  # the report pads the first and the last pooling
            blocks.append(_block(width_in, width_out, ceil=same))
            edge = (edge + same) // 2
        self.features = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(FILTERS[-1] * edge * edge, HIDDEN[0]),
            nn.ReLU(),
            batch_norm(HIDDEN[0], dimensions=1),
            nn.Linear(HIDDEN[0], HIDDEN[1]),
            nn.ReLU(),
            nn.Linear(HIDDEN[1], 1),
        )
        self.apply(initialise_as_keras)

    def forward(self, image: Tensor) -> Tensor:
        """float32 `[N, 3, 224, 224]` in [0, 1] -> logits `[N]`."""
        maps = self.features(image)  # [N, 128, 7, 7]
        logit: Tensor = self.head(maps)  # [N, 1]
        return logit.flatten()


def _block(width_in: int, width_out: int, ceil: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, padding=1),
        nn.ReLU(),
        batch_norm(width_out),
        nn.MaxPool2d(2, ceil_mode=ceil),
    )


def custom_cnn(preprocessing: Preprocessing) -> nn.Module:
    """The network for films of this size and number of channels."""
    return CustomCNN(preprocessing.size_px, preprocessing.channels)
