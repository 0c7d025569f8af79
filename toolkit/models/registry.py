"""The table of names: `build` is the only way to a network."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ModelError
from toolkit.models.szanet import SZANet

MODELS: dict[str, Callable[[Preprocessing], nn.Module]] = {
    "szanet": lambda preprocessing: SZANet(preprocessing.size_px, preprocessing.channels),
}


def build(name: str, preprocessing: Preprocessing) -> nn.Module:
    """A freshly initialised network; raises ModelError for an unknown name, listing the known ones."""
    if name not in MODELS:
        raise ModelError(f"Unknown model '{name}'; known models: {', '.join(sorted(MODELS))}.")
    return MODELS[name](preprocessing)


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
