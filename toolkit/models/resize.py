"""The widths of a network's layers, and the same network with other ones: what a structured checkpoint says beside its weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from toolkit.errors import ModelError

Widths = Mapping[str, tuple[int, int]]


def widths_of(network: nn.Module) -> dict[str, tuple[int, int]]:
    """By name of each convolution, linear layer and batch norm: channels in, channels out."""
    found = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            found[name] = (layer.in_channels, layer.out_channels)
        elif isinstance(layer, nn.Linear):
            found[name] = (layer.in_features, layer.out_features)
        elif isinstance(layer, BatchNorm):
            found[name] = (layer.num_features, layer.num_features)
    return found


def changed_widths(network: nn.Module, dense: nn.Module) -> dict[str, tuple[int, int]]:
    """The widths of `network` that `dense`, the same architecture, has otherwise."""
    full = widths_of(dense)
    return {name: width for name, width in widths_of(network).items() if width != full[name]}


def resize(network: nn.Module, widths: Widths) -> None:
    """Give the named layers other widths (in place; their weights hold nothing then). A depthwise convolution stays depthwise.

    Raises ModelError for a name that is no layer with widths.
    """
    layers = dict(network.named_modules())
    for name, (inputs, outputs) in widths.items():
        layer = layers.get(name)
        if isinstance(layer, nn.Conv2d):
            _resize_convolution(layer, inputs, outputs)
        elif isinstance(layer, nn.Linear):
            layer.in_features, layer.out_features = inputs, outputs
            layer.weight = nn.Parameter(torch.empty(outputs, inputs))
            _resize_vectors(layer, ("bias",), outputs)
        elif isinstance(layer, BatchNorm):
            layer.num_features = outputs
            _resize_vectors(layer, ("weight", "bias", "running_mean", "running_var"), outputs)
        else:
            raise ModelError(
                f"The checkpoint gives a width to '{name}', which is no convolution, linear layer or batch norm of this model."
            )


def _resize_convolution(layer: nn.Conv2d, inputs: int, outputs: int) -> None:
    if layer.groups == layer.in_channels == layer.out_channels:
        layer.groups = outputs
    layer.in_channels, layer.out_channels = inputs, outputs
    layer.weight = nn.Parameter(torch.empty(outputs, inputs // layer.groups, *layer.kernel_size))
    _resize_vectors(layer, ("bias",), outputs)


def _resize_vectors(layer: nn.Module, names: tuple[str, ...], size: int) -> None:
    for name in names:
        before = getattr(layer, name)
        if before is not None:
            setattr(layer, name, nn.Parameter(torch.empty(size)) if isinstance(before, nn.Parameter) else torch.empty(size))
