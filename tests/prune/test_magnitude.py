"""Magnitude pruning: true zeros, the smallest first, held through fine-tuning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from toolkit.prune.magnitude import prunable, sparsity
from toolkit.train.checkpoint import load_checkpoint


def test_sparsity_counts_zeros_of_weights_only() -> None:
    layer = nn.Linear(4, 1)
    layer.weight.data = torch.tensor([[0.0, 1.0, 0.0, 2.0]])
    layer.bias.data.zero_()
    assert sparsity(nn.Sequential(layer, nn.BatchNorm1d(1))) == 0.5


def test_the_finished_run_has_the_recipes_share_of_true_zeros(finished_run: Path) -> None:
    checkpoint, network = load_checkpoint(finished_run / "prune")
    weights = torch.cat([getattr(layer, name).flatten() for layer, name in prunable(network)])
    assert checkpoint.sparsity == pytest.approx(0.6, abs=1e-3)
    assert float((weights == 0).double().mean()) == pytest.approx(checkpoint.sparsity)
    assert weights[weights != 0].abs().min() > 1e-30  # no denormals in place of zeros


def test_the_smallest_weights_of_the_dense_network_went(finished_run: Path) -> None:
    _, dense = load_checkpoint(finished_run / "train")
    _, pruned = load_checkpoint(finished_run / "prune")
    before = torch.cat([getattr(layer, name).detach().flatten() for layer, name in prunable(dense)]).abs()
    after = torch.cat([getattr(layer, name).detach().flatten() for layer, name in prunable(pruned)])
    assert before[after == 0].max() <= before[after != 0].min()


def test_pruning_is_global_not_per_layer() -> None:
    network = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False))
    network[0].weight.data = torch.tensor([[0.1, 0.2]])
    network[1].weight.data = torch.tensor([[3.0], [4.0]])
    torch_prune.global_unstructured(prunable(network), torch_prune.L1Unstructured, amount=0.5)
    assert torch.equal(network[0].weight, torch.zeros(1, 2))
    assert torch.equal(network[1].weight, torch.tensor([[3.0], [4.0]]))
