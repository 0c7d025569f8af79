"""What is done to grey values before a network sees them, in training and in the lowered graph alike."""

from __future__ import annotations

import torch
from torch import Tensor

EDGES = (2, 3)


def standardise(grey: Tensor) -> Tensor:
    """Each film less its mean, divided by its standard deviation, of at least one grey level. float32 `[N, 1, H, W]` of 0..255."""
    centred = grey - grey.mean(EDGES, keepdim=True)
    variance = (centred * centred).mean(EDGES, keepdim=True)
    return centred / torch.sqrt(variance.clamp(min=1.0))
