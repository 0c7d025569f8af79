"""Keras' defaults: batch norm, Glorot weights, and the networks that have them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.models.keras import batch_norm, initialise_as_keras
from toolkit.models.registry import build


@pytest.mark.parametrize(("dimensions", "shape"), [(2, (4, 3, 5, 5)), (1, (20, 3))])
def test_batch_norm_moves_by_a_hundredth_and_adds_a_thousandth(dimensions: int, shape: tuple[int, ...]) -> None:
    layer, values = batch_norm(3, dimensions), torch.rand(shape) * 4
    over = tuple(axis for axis in range(len(shape)) if axis != 1)
    mean, variance = values.mean(over, keepdim=True), values.var(over, correction=0, keepdim=True)
    assert torch.allclose(layer(values), (values - mean) / torch.sqrt(variance + 1e-3), atol=1e-5)
    assert torch.allclose(layer.running_mean, mean.flatten() * 0.01)


@pytest.mark.parametrize(("name", "norms"), [("szanet", 3), ("custom_cnn", 6), ("vanilla_cnn", 0)])
def test_the_networks_of_keras_reports_have_its_batch_norm(name: str, norms: int) -> None:
    network = build(name, Preprocessing(size_px=32, channels=1))
    found = [(layer.eps, layer.momentum) for layer in network.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert found == [(1e-3, 0.01)] * norms


@pytest.mark.parametrize("layer", [nn.Linear(300, 200), nn.Conv2d(20, 30, 3)], ids=["linear", "convolution"])
def test_weights_are_glorot_uniform_and_biases_zero(layer: nn.Linear | nn.Conv2d) -> None:
    torch.manual_seed(0)
    initialise_as_keras(layer)
    fans = 300 + 200 if isinstance(layer, nn.Linear) else 20 * 9 + 30 * 9
    limit = math.sqrt(6 / fans)
    assert 0.99 * limit < layer.weight.abs().max() <= limit
    assert layer.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.03)
    assert layer.bias is not None
    assert not layer.bias.any()


def test_a_layer_without_bias_is_taken() -> None:
    layer = nn.Conv2d(1, 1, 3, bias=False)
    nn.init.zeros_(layer.weight)
    initialise_as_keras(layer)
    assert layer.weight.any()
