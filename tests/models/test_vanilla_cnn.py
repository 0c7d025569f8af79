"""Vanilla and optimized CNN: padding 'same' written out by hand, layer by layer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, max_pool2d, relu

from toolkit.core.preprocessing import Preprocessing
from toolkit.models.registry import build
from toolkit.models.vanilla_cnn import SameConv2d, VanillaCNN


def padded_as_same(image: Tensor, kernel: int, filler: float) -> Tensor:
    """TensorFlow's 'same' for stride = kernel: what is missing to a whole number of windows, the smaller half before."""
    height, width = image.shape[-2:]
    down, right = (math.ceil(edge / kernel) * kernel - edge for edge in (height, width))
    wide = torch.full((*image.shape[:2], height + down, width + right), filler)
    wide[:, :, down // 2 : down // 2 + height, right // 2 : right // 2 + width] = image
    return wide


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 6), (4, 7), (5, 7), (1, 1)])
def test_a_convolution_pads_odd_edges_at_their_end(height: int, width: int) -> None:
    torch.manual_seed(2)
    layer, image = SameConv2d(2, 3), torch.rand(2, 2, height, width)
    expected = conv2d(padded_as_same(image, 2, 0.0), layer.weight, layer.bias, stride=2)
    found = layer(image)
    assert found.shape == (2, 3, math.ceil(height / 2), math.ceil(width / 2))
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("size_px", [224, 99, 225])
def test_the_whole_network_is_what_same_padding_gives_by_hand(size_px: int) -> None:
    torch.manual_seed(3)
    network = VanillaCNN(size_px, 1, (0.0, 0.0)).eval()
    image = torch.rand(2, 1, size_px, size_px)
    maps = image
    convolutions = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    for layer, pool in zip(convolutions, (2, 2, 2, 4), strict=True):
        maps = relu(conv2d(padded_as_same(maps, 2, 0.0), layer.weight, layer.bias, stride=2))
        maps = max_pool2d(padded_as_same(maps, pool, -math.inf), pool)
    first, second = (layer for layer in network.head if isinstance(layer, nn.Linear))
    units = linear(relu(linear(maps.flatten(1), first.weight, first.bias)), second.weight, second.bias)
    assert torch.allclose(network(image), units[:, 1] - units[:, 0], atol=1e-6)
    assert torch.allclose(torch.sigmoid(network(image)), torch.softmax(units, 1)[:, 1], atol=1e-6)


def test_sizes_at_the_size_of_the_report() -> None:
    maps, edges = torch.zeros(1, 3, 224, 224), []
    for layer in VanillaCNN(224, 3, (0.0, 0.0)).features:
        maps = layer(maps)
        edges += [] if isinstance(layer, nn.ReLU) else [tuple(maps.shape[1:])]
    assert edges == [(16, 112, 112), (16, 56, 56), (32, 28, 28), (32, 14, 14), (64, 7, 7), (64, 4, 4), (16, 2, 2), (16, 1, 1)]


@pytest.mark.parametrize(("name", "rates"), [("vanilla_cnn", [0.0, 0.0]), ("optimized_cnn", [0.2, 0.4])])
def test_only_the_optimized_one_drops_out(name: str, rates: list[float]) -> None:
    network = build(name, Preprocessing(size_px=32, channels=1))
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == rates


def test_the_smallest_films_that_a_recipe_may_ask_for_are_taken() -> None:
    assert build("vanilla_cnn", Preprocessing(size_px=16, channels=1)).eval()(torch.zeros(2, 1, 16, 16)).shape == (2,)
