"""Rounding while training: by hand, and gone without a trace afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from toolkit.train.fake_quantize import RoundedInput, RoundedWeights, rounded


def test_weights_are_multiples_of_a_127th_of_their_channels_largest() -> None:
    weights = torch.tensor([[1.27, 0.014, -0.006], [12.7, 0.14, -0.06]])
    expected = torch.tensor([[1.27, 0.01, -0.01], [12.7, 0.1, -0.1]])
    assert RoundedWeights()(weights) == pytest.approx(expected, abs=1e-6)


def test_gradients_pass_as_if_nothing_was_rounded() -> None:
    weights = torch.tensor([[1.27, 0.014, -0.006]], requires_grad=True)
    RoundedWeights()(weights).sum().backward()
    assert weights.grad is not None
    assert weights.grad.tolist() == [[1, 1, 1]]


def test_an_input_is_cut_at_the_range_that_was_seen() -> None:
    layer = RoundedInput()
    layer(torch.tensor([0.0, 2.55]))
    layer.eval()
    assert layer(torch.tensor([0.004, 0.006, 9.0])) == pytest.approx(torch.tensor([0, 0.01, 2.55]), abs=1e-6)


def test_afterwards_the_network_is_as_it_was() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 1)).eval()
    image = torch.randn(2, 1, 6, 6)
    before, names = network(image), list(network.state_dict())
    with rounded(network):
        network.train()
        network(image)
        network.eval()
        assert not torch.equal(network(image), before)
        assert network(image).detach() == pytest.approx(before.detach(), abs=0.05)
    assert torch.equal(network(image), before)
    assert set(network.state_dict()) == set(names)
