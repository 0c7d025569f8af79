"""Custom CNN layer by layer: sizes worked out from the report's paddings, order of layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from toolkit.models.custom_cnn import CustomCNN


@pytest.mark.parametrize(
    ("size_px", "edges"),
    [
        (224, [112, 56, 28, 14, 7]),
        (225, [113, 56, 28, 14, 7]),  # the first pooling is padded: 113, not 112
        (59, [30, 15, 7, 3, 2]),  # so is the last: 2, not 1; the three between are not
    ],
)
def test_sizes_after_each_block(size_px: int, edges: list[int]) -> None:
    network = CustomCNN(size_px, channels=1).eval()
    maps = torch.zeros(2, 1, size_px, size_px)
    for block, width, edge in zip(network.features, (32, 64, 64, 64, 128), edges, strict=True):
        maps = block(maps)
        assert tuple(maps.shape) == (2, width, edge, edge)
    assert network.head(maps).shape == (2, 1)


def test_order_of_layers() -> None:
    network = CustomCNN(32, channels=1)
    assert [[type(layer) for layer in block] for block in network.features] == [[nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d]] * 5
    head = [nn.Flatten, nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in network.head] == head
    assert [layer.out_features for layer in network.head if isinstance(layer, nn.Linear)] == [128, 64, 1]


def test_convolutions_keep_the_size() -> None:
    convolution = CustomCNN(32, channels=1).features[0][0]
    assert convolution(torch.zeros(1, 1, 9, 9)).shape == (1, 32, 9, 9)
