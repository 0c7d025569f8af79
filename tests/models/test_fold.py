"""Batch norms folded into convolutions: the same logits, fewer layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.models.fold import fold_batch_norms
from toolkit.models.registry import build


def unsettled(network: nn.Module) -> nn.Module:
    """Batch norms with statistics of their own, as after training."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -1, 1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.uniform_(layer.bias, -1, 1)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


# how many batch norms stay: those that follow no convolution directly in a Sequential
@pytest.mark.parametrize(("name", "left"), [("szanet", 0), ("custom_cnn", 5), ("mobilenet_v2", 0), ("mobilenet", 27), ("densenet121", 120)])
def test_folding_keeps_the_logits(name: str, left: int) -> None:
    network = unsettled(build(name, Preprocessing(size_px=32)))
    image = torch.rand(3, 3, 32, 32)
    with torch.inference_mode():
        before = network(image)
        folded = fold_batch_norms(network)
        assert torch.allclose(folded(image), before, rtol=1e-4, atol=1e-4)
    assert norms(folded) == left


def test_a_batch_norm_behind_an_activation_stays() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).eval()
    fold_batch_norms(network)
    assert [type(layer) for layer in network] == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.Conv2d, nn.Identity]


class NormAndActivation(nn.BatchNorm2d):
    """As timm has it."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return super().forward(maps).relu()


def test_a_batch_norm_that_does_more_stays() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), NormAndActivation(2)).eval()
    image = torch.randn(2, 1, 5, 5)
    before = network(image)
    assert torch.equal(fold_batch_norms(network)(image), before)
