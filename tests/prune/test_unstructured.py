"""Zeros: which, how many, where they stay; answers counted by hand."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from toolkit.core.recipe import PruneSpec
from toolkit.errors import PruningError
from toolkit.prune.unstructured import (
    hold_zeros,
    make_zeros,
    n_of_m,
    prunable,
    release_zeros,
    sparsity,
    sparsity_at,
    tensors_of,
    whole_layers,
)
from toolkit.train.checkpoint import load_checkpoint


def two_layers() -> nn.Sequential:
    """Two linear layers: .1 and .2, then 3 and 4."""
    network = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False))
    network[0].weight.data = torch.tensor([[0.1, 0.2]])
    network[1].weight.data = torch.tensor([[3.0], [-4.0]])
    return network


def test_sparsity_counts_zeros_of_weights_only() -> None:
    layer = nn.Linear(4, 1)
    layer.weight.data = torch.tensor([[0.0, 1.0, 0.0, 2.0]])
    layer.bias.data.zero_()
    assert sparsity(nn.Sequential(layer, nn.BatchNorm1d(1))) == 0.5


def test_by_magnitude_of_the_whole_network_a_layer_that_would_vanish_is_named() -> None:
    with pytest.raises(PruningError, match=r"50 % of the weights zero leaves layer '0' without any; lower prune.sparsity"):
        make_zeros(two_layers(), PruneSpec(sparsity=0.5), 0.5, seed=0)


def test_by_magnitude_of_the_whole_network_the_smallest_goes() -> None:
    network = two_layers()
    make_zeros(network, PruneSpec(), 0.25, seed=0)
    assert torch.equal(network[0].weight, torch.tensor([[0.0, 0.2]]))
    assert torch.equal(network[1].weight, torch.tensor([[3.0], [-4.0]]))


def test_by_magnitude_of_each_layer_the_smallest_of_each_goes() -> None:
    network = two_layers()
    make_zeros(network, PruneSpec(scope="layer"), 0.5, seed=0)
    assert torch.equal(network[0].weight, torch.tensor([[0.0, 0.2]]))
    assert torch.equal(network[1].weight, torch.tensor([[0.0], [-4.0]]))


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("method", ["magnitude", "random"])
def test_the_share_holds_and_a_second_step_keeps_the_zeros_of_the_first(method: str, scope: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 10, 5), nn.Linear(100, 10))
    spec = PruneSpec(method=method, scope=scope)  # type: ignore[arg-type]
    make_zeros(network, spec, 0.3, seed=1)
    assert sparsity(network) == pytest.approx(0.3)
    before = [tensor == 0 for tensor in tensors_of(network)]
    make_zeros(network, spec, 0.7, seed=2)
    assert sparsity(network) == pytest.approx(0.7)
    assert all((tensor[zero] == 0).all() for zero, tensor in zip(before, tensors_of(network), strict=True))


def test_random_zeros_have_nothing_to_do_with_magnitude() -> None:
    layer = nn.Linear(100, 100, bias=False)
    layer.weight.data = torch.arange(1.0, 10001).reshape(100, 100)
    make_zeros(nn.Sequential(layer), PruneSpec(method="random"), 0.5, seed=3)
    kept = layer.weight.detach()[layer.weight != 0]
    assert float(kept.mean()) == pytest.approx(5000, rel=0.03)  # standard error .6 %


def test_two_of_four_neighbours_along_the_input_channels_stay() -> None:
    layer = nn.Linear(4, 2, bias=False)
    layer.weight.data = torch.tensor([[1.0, -4.0, 3.0, 2.0], [0.5, 0.1, -0.2, 0.3]])
    network = nn.Sequential(layer)
    make_zeros(network, PruneSpec(method="n_m"), 0.0, seed=0)
    assert torch.equal(layer.weight, torch.tensor([[0.0, -4.0, 3.0, 0.0], [0.5, 0.0, 0.0, 0.3]]))
    assert sparsity(network) == 0.5


def test_n_of_m_reads_a_convolution_along_its_channels_not_along_its_kernel() -> None:
    layer = nn.Conv2d(4, 1, (1, 2), bias=False)
    layer.weight.data = torch.tensor([[[[1.0, 8.0]], [[2.0, 7.0]], [[3.0, 6.0]], [[4.0, 5.0]]]])  # [1, 4, 1, 2]
    expected = torch.tensor([[[[False, True]], [[False, True]], [[True, False]], [[True, False]]]])
    assert torch.equal(n_of_m(layer, 2, 4), expected)


def test_layers_that_the_pattern_does_not_fit_stay_whole_and_are_named() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1))
    spec = PruneSpec(method="n_m")
    assert whole_layers(network, spec) == ("0", "1")
    assert whole_layers(network, PruneSpec()) == ()
    make_zeros(network, spec, 0.0, seed=0)
    assert [float((tensor == 0).double().mean()) for tensor in tensors_of(network)] == [0.0, 0.0, 0.5]


def test_the_cubic_schedule_by_hand() -> None:
    assert [sparsity_at(step, 4, 0.8) for step in (1, 2, 3, 4)] == pytest.approx([0.4625, 0.7, 0.7875, 0.8])


def test_held_zeros_stay_zero_under_an_optimizer_and_the_network_can_be_copied() -> None:
    network = two_layers()
    make_zeros(network, PruneSpec(), 0.25, seed=0)
    hold_zeros(network)
    network = copy.deepcopy(network)  # weight averaging does that
    optimizer = torch.optim.AdamW(network.parameters(), 0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    release_zeros(network)
    assert network[0].weight[0, 0] == 0
    assert network[0].weight[0, 1] != 0.2
    assert list(network.state_dict()) == ["0.weight", "1.weight"]


def test_the_finished_run_has_the_recipes_share_of_true_zeros(finished_run: Path) -> None:
    checkpoint, network = load_checkpoint(finished_run / "prune")
    weights = torch.cat([tensor.flatten() for tensor in tensors_of(network)])
    assert checkpoint.sparsity == pytest.approx(0.6, abs=1e-3)
    assert float((weights == 0).double().mean()) == pytest.approx(checkpoint.sparsity)
    assert weights[weights != 0].abs().min() > 1e-30  # no denormals in place of zeros


def test_the_smallest_weights_of_the_dense_network_went(finished_run: Path) -> None:
    _, dense = load_checkpoint(finished_run / "train")
    _, pruned = load_checkpoint(finished_run / "prune")
    before = torch.cat([getattr(layer, name).detach().flatten() for layer, name in prunable(dense)]).abs()
    after = torch.cat([getattr(layer, name).detach().flatten() for layer, name in prunable(pruned)])
    assert before[after == 0].max() <= before[after != 0].min()
