"""Banjo CNN: the blocks that its report names, sizes halved by each."""

from __future__ import annotations

import torch
from torch import nn

from toolkit.models.banjo_cnn import BanjoCNN


def test_three_blocks_in_the_order_of_the_report_and_two_linear_layers() -> None:
    network = BanjoCNN(16, channels=1)
    block = [nn.Conv2d, nn.LeakyReLU, nn.MaxPool2d, nn.Dropout]
    assert [type(layer) for layer in network.features] == block * 3
    assert [type(layer) for layer in network.head] == [nn.Flatten, nn.Linear, nn.LeakyReLU, nn.Linear]


def test_each_block_halves_the_edge() -> None:
    maps = torch.zeros(1, 1, 128, 128)
    shapes = []
    for layer in BanjoCNN(128, channels=1).features:
        maps = layer(maps)
        shapes += [tuple(maps.shape[1:])] if isinstance(layer, nn.MaxPool2d) else []
    assert shapes == [(32, 64, 64), (64, 32, 32), (128, 16, 16)]


def test_an_odd_edge_loses_its_last_row() -> None:
    assert BanjoCNN(31, channels=1).eval()(torch.zeros(2, 1, 31, 31)).shape == (2,)
