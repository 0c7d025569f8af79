"""Freezing: which parameters learn, and batch norms that stand still in training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.train.test_fit import PREPROCESSING, bright_and_dark
from toolkit.core.recipe import TrainSpec
from toolkit.errors import RecipeError
from toolkit.models.transfer import Transfer, without
from toolkit.train.fit import fit
from toolkit.train.freeze import frozen_batch_norms, train_only
from toolkit.train.module import Classifier


def small() -> Transfer:
    """Two blocks under a head; batch norms are backbone.1 and backbone.4."""
    torch.manual_seed(0)
    blocks = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)]
    backbone = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Transfer(backbone, nn.Sequential(nn.Linear(4, 1)), without(), None)


def learning(network: nn.Module) -> list[str]:
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def test_no_names_let_all_learn_again() -> None:
    network = small()
    train_only(network, ("head",))
    train_only(network, ())
    assert learning(network) == [name for name, _ in network.named_parameters()]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("head",), ["head.0.weight", "head.0.bias"]),
        (("head", "backbone.4"), ["backbone.4.weight", "backbone.4.bias", "head.0.weight", "head.0.bias"]),
        (("backbone.3.bias",), ["backbone.3.bias"]),
    ],
)
def test_only_the_named_parts_learn(names: tuple[str, ...], expected: list[str]) -> None:
    network = small()
    train_only(network, names)
    assert learning(network) == expected


def test_a_name_is_of_a_whole_part() -> None:
    network = nn.Sequential()
    network.add_module("block1", nn.Linear(1, 1))
    network.add_module("block10", nn.Linear(1, 1))
    train_only(network, ("block1",))
    assert learning(network) == ["block1.weight", "block1.bias"]


@pytest.mark.parametrize("name", ["backbone.9", "heads", "", "backbone.1.running_mean"])
def test_an_unknown_part_is_refused_with_the_known_ones(name: str) -> None:
    network = small()
    with pytest.raises(RecipeError) as caught:
        train_only(network, ("head", name))
    parts = "backbone.0, backbone.1, backbone.3, backbone.4, head.0"
    assert str(caught.value) == f"train.trainable names '{name}', which this network has not; its parts: {parts}."
    assert len(learning(network)) == 10


def test_frozen_batch_norms_are_those_that_do_not_learn() -> None:
    network = small()
    assert frozen_batch_norms(network) == []
    train_only(network, ("head", "backbone.4"))
    assert frozen_batch_norms(network) == [network.backbone[1]]  # type: ignore[index]


def test_a_classifier_keeps_frozen_batch_norms_in_evaluation_mode() -> None:
    network = small()
    train_only(network, ("head", "backbone.4"))
    classifier = Classifier(network, TrainSpec(model="", epochs=1), PREPROCESSING, seed=0)
    backbone = network.backbone
    assert isinstance(backbone, nn.Sequential)
    modes = []
    for mode in (True, False, True):
        classifier.train(mode)
        modes.append((classifier.training, backbone[1].training, backbone[4].training, backbone[0].training))
    assert modes == [(True, False, True, True), (False, False, False, False), (True, False, True, True)]


@pytest.mark.parametrize("average", [None, 0.9])
def test_a_training_changes_what_learns_and_nothing_else(average: float | None, tmp_path: Path) -> None:
    network, films = small(), bright_and_dark(16)
    train_only(network, ("head", "backbone.4"))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    spec = TrainSpec(model="", epochs=2, batch_size=8, learning_rate=0.01, average=average)
    fit(Classifier(network, spec, PREPROCESSING, seed=0), films, films, tmp_path)
    # an average of equal weights may differ in the last digit
    changed = {name for name, value in network.state_dict().items() if not torch.allclose(value, before[name], rtol=1e-6, atol=0)}
    learnt = {"backbone.4.weight", "backbone.4.bias", "head.0.weight", "head.0.bias"}
    assert changed == learnt | {"backbone.4.running_mean", "backbone.4.running_var", "backbone.4.num_batches_tracked"}
