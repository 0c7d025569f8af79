"""CNN_94 and CNN_V2 layer by layer against tables I and II of their report."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.models.cnn_94 import LeakyCNN
from toolkit.models.registry import build

# (layer, sizes after it as in the table; height x width x channels, or units)
TABLES = {
    "cnn_94": [
        ("Conv2d", (98, 98, 12)),
        ("MaxPool2d", (49, 49, 12)),
        ("BatchNorm2d", (49, 49, 12)),
        ("Conv2d", (47, 47, 18)),
        ("MaxPool2d", (23, 23, 18)),
        ("Conv2d", (21, 21, 24)),
        ("Linear", (1000,)),
        ("BatchNorm1d", (1000,)),
        ("Dropout", (1000,)),
        ("Linear", (100,)),
        ("Dropout", (100,)),
        ("Linear", (10,)),
        ("Linear", (2,)),
    ],
    "cnn_v2": [
        ("Conv2d", (96, 96, 12)),
        ("MaxPool2d", (48, 48, 12)),
        ("BatchNorm2d", (48, 48, 12)),
        ("Conv2d", (46, 46, 12)),
        ("Conv2d", (44, 44, 16)),
        ("Conv2d", (42, 42, 12)),
        ("Conv2d", (40, 40, 12)),
        ("Dropout", (40, 40, 12)),
        ("MaxPool2d", (20, 20, 12)),
        ("Linear", (1000,)),
        ("BatchNorm1d", (1000,)),
        ("Linear", (100,)),
        ("Dropout", (100,)),
        ("Linear", (10,)),
        ("Linear", (2,)),
    ],
}
KERNELS = {"cnn_94": [3, 3, 3], "cnn_v2": [5, 3, 3, 3, 3]}


@pytest.fixture(scope="module", params=list(TABLES))
def model(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    """Either network, at the size of the report."""
    return request.param, build(request.param, Preprocessing(size_px=100, channels=1)).eval()


def layers_and_outputs(network: nn.Module) -> list[tuple[nn.Module, Tensor]]:
    """Each innermost layer that does something, with its output, in the order in which they run."""
    seen: list[tuple[nn.Module, Tensor]] = []
    working = [layer for layer in network.modules() if not list(layer.children()) and not isinstance(layer, nn.Flatten)]
    working = [layer for layer in working if not (isinstance(layer, nn.Dropout) and layer.p == 0)]
    hooks = [layer.register_forward_hook(lambda layer, _given, output: seen.append((layer, output))) for layer in working]
    with torch.inference_mode():
        network(torch.rand(1, 1, 100, 100))
    for hook in hooks:
        hook.remove()
    return seen


def test_layers_and_sizes_are_those_of_the_table(model: tuple[str, nn.Module]) -> None:
    name, network = model
    found = [(type(layer).__name__, output[0].permute(1, 2, 0).shape if output.ndim == 4 else output[0].shape)
             for layer, output in layers_and_outputs(network) if not isinstance(layer, nn.LeakyReLU)]  # fmt: skip
    assert [(kind, tuple(size)) for kind, size in found] == TABLES[name]


def test_a_leaky_relu_follows_every_convolution_and_linear_layer_and_nothing_else(model: tuple[str, nn.Module]) -> None:
    kinds = [type(layer) for layer, _ in layers_and_outputs(model[1])]
    before = [first for first, second in itertools.pairwise(kinds) if second is nn.LeakyReLU]
    assert before == [kind for kind in kinds if kind in (nn.Conv2d, nn.Linear)]
    assert kinds[-1] is nn.LeakyReLU


def test_kernels_and_dropouts_are_those_of_the_table(model: tuple[str, nn.Module]) -> None:
    name, network = model
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.kernel_size for layer in convolutions] == [(edge, edge) for edge in KERNELS[name]]
    rates = [layer.p for layer, _ in layers_and_outputs(network) if isinstance(layer, nn.Dropout)]
    assert rates == [0.3, 0.3]


def test_the_sigmoid_of_the_logit_is_the_softmax_of_the_two_units(model: tuple[str, nn.Module]) -> None:
    network = model[1]
    assert isinstance(network, LeakyCNN)
    image = torch.rand(3, 1, 100, 100)
    with torch.inference_mode():
        units = network.head(network.features(image))
        assert units.shape == (3, 2)
        assert torch.allclose(torch.sigmoid(network(image)), torch.softmax(units, 1)[:, 1], atol=1e-6)


@pytest.mark.parametrize("name", list(TABLES))
def test_a_fresh_network_is_in_training_mode_with_untouched_statistics(name: str) -> None:
    network = build(name, Preprocessing(size_px=40, channels=1))
    assert all(layer.training for layer in network.modules())
    norm = next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    assert norm.running_mean is not None
    assert torch.equal(norm.running_mean, torch.zeros(12))
