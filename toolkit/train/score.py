"""Logits of a torch network on prepared films: the reference that every artifact is held against."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.core.progress import track
from toolkit.imaging.decode import Pixels
from toolkit.train.module import to_network

BATCH = 4  # maps of more films do not stay in a processor's cache: 32 take two to three times as long a film


def score(network: nn.Module, images: Pixels, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """uint8 `[N, 1, H, W]` -> logits float32 `[N]`, in single precision, dropout off."""
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parts = [np.empty(0, np.float32)]
    starts = range(0, len(images), BATCH)
    with torch.inference_mode():
        for start in track(starts, len(starts), "score"):
            batch = torch.from_numpy(images[start : start + BATCH]).float()
            parts.append(network(to_network(batch, preprocessing)).numpy())
    return np.concatenate(parts)
