"""SZANet against the figures of its report."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ModelError
from toolkit.models.registry import build, count_parameters
from toolkit.models.szanet import SZANet


def test_parameter_count_is_that_of_the_report() -> None:
    assert count_parameters(build("szanet", Preprocessing())) == 2_792_833


def test_shapes_layer_by_layer() -> None:
    network = SZANet().eval()
    maps = torch.zeros(2, 3, 224, 224)
    for block, expected in zip(network.features, [(2, 16, 111, 111), (2, 32, 54, 54), (2, 64, 26, 26)], strict=True):
        maps = block(maps)
        assert tuple(maps.shape) == expected
    assert network(torch.zeros(2, 3, 224, 224)).shape == (2,)


def test_order_and_dropout_of_a_block() -> None:
    network = SZANet()
    kinds = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Dropout]
    assert [[type(layer) for layer in block] for block in network.features] == [kinds] * 3
    rates = [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)]
    assert rates == [0.2, 0.2, 0.4, 0.5]


def test_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match="Unknown model 'resnet'; known models: banjo_cnn, chexnet, .*, szanet, vanilla_cnn"):
        build("resnet", Preprocessing())


def test_too_small_films_are_refused() -> None:
    with pytest.raises(ModelError, match="at least 22 px; preprocessing.size_px is 16"):
        build("szanet", Preprocessing(size_px=16))
