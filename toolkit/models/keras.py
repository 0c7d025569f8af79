"""Keras' defaults, which hold where a report that used Keras is silent."""

from __future__ import annotations

from torch import nn


def initialise_as_keras(layer: nn.Module) -> None:
    """Glorot uniform weights, zero biases; for `Module.apply`."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def batch_norm(width: int, dimensions: int = 2) -> nn.Module:
    """Epsilon 1e-3, momentum .99 (torch counts from the other end)."""
    kind = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm1d
    return kind(width, eps=1e-3, momentum=0.01)
