"""Channels out: against networks in which the same channels were made zero, and against widths counted by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_pruning  # type: ignore[import-untyped]
from torch import Tensor, nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import PruneSpec, TargetSpec
from toolkit.errors import ModelError, PruningError
from toolkit.models.registry import MODELS, build, count_parameters
from toolkit.models.resize import changed_widths, resize, widths_of
from toolkit.prune.structured import ChannelGraph, Channels, cut, importance, kept, least_important, on_the_way, refused

GREY = ("cnn_94", "cnn_v2", "banjo_cnn")
EDGES = {"cnn_94": 100, "cnn_v2": 100, "banjo_cnn": 128, "inception_v3": 75}
HALF = TargetSpec(ratio=0.5)
GONE = [0, 1, 4, 5, 7, 10, 11, 12]


def spec(**changed: Any) -> PruneSpec:
    return PruneSpec(method="structured", target=HALF, **changed)


def preprocessing_of(model: str) -> Preprocessing:
    return Preprocessing(size_px=EDGES.get(model, 64), channels=1 if model in GREY else 3)


def scored(network: nn.Module, preprocessing: Preprocessing) -> list[Channels]:
    return ChannelGraph(network, preprocessing).scored(importance(spec(), network, list))


def by_hand(name: str, *scores: float, kind: str = "") -> Channels:
    return Channels(name, kind, torch.tensor(scores))


def test_szanets_channels_and_the_columns_of_its_flattened_map() -> None:
    """224 px: the third block ends in 26x26 maps; a channel of it is 676 columns of the first linear layer."""
    preprocessing = Preprocessing()
    network = build("szanet", preprocessing).eval()
    smaller = cut(network, preprocessing, {"features.2.0": [0, 5, 63]})
    assert widths_of(smaller)["features.2.0"] == (32, 61)
    assert widths_of(smaller)["head.1"] == (61 * 676, 64)
    assert count_parameters(network) - count_parameters(smaller) == 3 * (32 * 9 + 1 + 2 + 676 * 64)
    weight, rest = network.head[1].weight.reshape(64, 64, 676), [place for place in range(64) if place not in (0, 5, 63)]
    assert torch.equal(smaller.head[1].weight, weight[:, rest].reshape(64, -1))


def silenced(network: nn.Module, name: str, channels: list[int]) -> nn.Module:
    """The network with the outputs of these channels set to zero where the next layer that mixes channels reads them."""
    quiet = copy.deepcopy(network)
    quiet.get_submodule(name).register_forward_hook(lambda _layer, _given, output: output.index_fill(1, torch.tensor(channels), 0.0))
    return quiet


@pytest.mark.parametrize(
    ("model", "layer", "read_behind"),
    [
        ("szanet", "features.1.0", "features.1"),
        ("szanet", "features.2.0", "features.2"),
        ("szanet", "head.1", "head.2"),
        ("custom_cnn", "features.3.0", "features.3"),
        ("mobilenet_v2", "backbone.features.17.conv.0.0", "backbone.features.17.conv.1"),  # through a depthwise layer
    ],
)
def test_taking_channels_out_is_setting_what_they_say_to_zero(model: str, layer: str, read_behind: str) -> None:
    torch.manual_seed(0)
    preprocessing = preprocessing_of(model)
    network = build(model, preprocessing).eval()
    film = torch.rand(2, 3, preprocessing.size_px, preprocessing.size_px, dtype=torch.double)
    smaller = cut(network, preprocessing, {layer: GONE}).double()
    network.double()  # an untrained deep network hardly answers: the digits behind the tenth tell
    with torch.no_grad():
        assert torch.allclose(smaller(film), silenced(network, read_behind, GONE)(film), rtol=0, atol=1e-14)
        assert not torch.allclose(smaller(film), network(film), rtol=0, atol=1e-12)


def test_a_depthwise_layer_loses_the_filters_of_the_channels_that_it_reads() -> None:
    preprocessing = preprocessing_of("mobilenet")
    network = build("mobilenet", preprocessing).eval()
    names = [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    first, depthwise = names[0], names[1]
    smaller = cut(network, preprocessing, {first: [2, 7]})
    layer = smaller.get_submodule(depthwise)
    assert (layer.in_channels, layer.out_channels, layer.groups) == (30, 30, 30)
    rest = [place for place in range(32) if place not in (2, 7)]
    assert torch.equal(layer.weight, network.get_submodule(depthwise).weight[rest])


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_pruned_runs_and_is_rebuilt_from_its_widths(model: str) -> None:
    torch.manual_seed(0)
    preprocessing = preprocessing_of(model)
    network = build(model, preprocessing).eval()
    groups = scored(network, preprocessing)
    assert refused(network, preprocessing, groups) == ()
    assert ChannelGraph(network, preprocessing).left_dense() == ()
    smaller = cut(network, preprocessing, least_important(groups, kept(groups, spec(scope="layer"), 0.5)))
    assert count_parameters(smaller) < 0.45 * count_parameters(network)
    again = build(model, preprocessing).eval()
    resize(again, changed_widths(smaller, network))
    again.load_state_dict(smaller.state_dict())
    film = torch.rand(2, preprocessing.channels, preprocessing.size_px, preprocessing.size_px)
    with torch.no_grad():
        assert torch.equal(again(film), smaller(film))
        assert smaller(film).shape == (2,)


def test_the_classifier_is_no_group_and_hidden_linear_layers_are() -> None:
    preprocessing = preprocessing_of("custom_cnn")
    names = [group.name for group in scored(build("custom_cnn", preprocessing), preprocessing)]
    assert {"head.1", "head.4"} < set(names)
    assert "head.6" not in names


def test_widths_are_rounded_up_and_never_below_the_least() -> None:
    groups = [by_hand("wide", *range(20)), by_hand("small", *range(6)), by_hand("one", 0.0)]
    layerwise = spec(scope="layer", round_to=8, min_channels=4)
    assert kept(groups, layerwise, 0.5) == {"wide": 16, "small": 6, "one": 1}  # 10 -> 16; 3 -> 8, which is more than there are
    assert kept(groups, layerwise, 0.99) == {"wide": 8, "small": 6, "one": 1}
    assert kept(groups, spec(scope="layer", round_to=1, min_channels=2), 0.99) == {"wide": 2, "small": 2, "one": 1}


def test_scopes_by_hand() -> None:
    groups = [by_hand("a", 1, 2, 3, 4, kind="x"), by_hand("b", 5, 6, 7, 8, kind="x"), by_hand("c", 0, 9, 9, 9, kind="y")]
    exact = {"round_to": 1, "min_channels": 1}
    assert kept(groups, spec(scope="layer", **exact), 0.5) == {"a": 2, "b": 2, "c": 2}
    assert kept(groups, spec(scope="global", **exact), 0.5) == {"a": 1, "b": 3, "c": 3}  # 0 to 5 go; of a, one must stay
    assert kept(groups, spec(scope="isomorphic", **exact), 0.5) == {"a": 1, "b": 4, "c": 2}
    assert kept(groups, spec(**exact), {"a": 0.25, "c": 0.75}) == {"a": 3, "b": 4, "c": 1}


def test_the_least_important_go() -> None:
    assert least_important([by_hand("a", 3, 1, 2), by_hand("b", 1, 2)], {"a": 1, "b": 2}) == {"a": [1, 2]}


def test_the_way_to_a_goal_ends_there() -> None:
    full, goal, rounded = {"a": 64, "b": 16}, {"a": 24, "b": 16}, spec(round_to=8)
    assert [on_the_way(full, goal, share, rounded)["a"] for share in (0.25, 0.5, 0.75, 1.0)] == [56, 48, 40, 24]
    assert on_the_way(full, goal, 0.5, rounded)["b"] == 16


def one_layer(weights: list[list[float]]) -> nn.Sequential:
    """Three units over two inputs, a batch norm with scales 3, 1, 2, a classifier that weighs all alike."""
    network = nn.Sequential(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3), nn.Linear(3, 1))
    network[0].weight.data = torch.tensor(weights)
    network[1].weight.data = torch.tensor([3.0, 1.0, 2.0])
    network[2].weight.data = torch.ones(1, 3)
    return network


def lowest(network: nn.Module, name: str, losses: Callable[[], list[Tensor]] = list) -> int:
    grade = importance(spec(importance=name), network, losses)
    graph = object.__new__(ChannelGraph)  # its own example is a film; this network reads vectors
    graph.network, graph.names = network, {layer: place for place, layer in network.named_modules()}
    graph.classifier = network[-1]
    graph.graph = torch_pruning.DependencyGraph().build_dependency(network.eval(), torch.zeros(2, 2))
    return int(graph.scored(grade)[0].scores.argmin())


def test_each_importance_by_hand() -> None:
    weights = [[3.0, 3.0], [2.0, 2.0], [0.1, 4.5]]
    assert lowest(one_layer(weights), "bn_scale") == 1  # scales 3, 1, 2
    assert lowest(one_layer(weights), "l1") == 1  # 6 + 3, 4 + 1, 4.6 + 2
    assert lowest(one_layer(weights), "l2") == 1  # 18 + 9, 8 + 1, 20.26 + 4
    assert lowest(one_layer([[3.0, 3.0], [0.1, 2.9], [2.0, 2.0]]), "l1") == 1
    assert lowest(one_layer(weights), "lamp") == 1


def test_taylor_and_hessian_ask_the_loss_not_the_weights() -> None:
    """The loss reads unit 0 alone, though its weights are the smallest: the others' gradients are zero."""
    for name in ("taylor", "hessian"):
        network = one_layer([[0.1, 0.1], [5.0, 5.0], [4.0, 4.0]])
        network[2].weight.data = torch.tensor([[1.0, 0.0, 0.0]])
        films = torch.tensor([[1.0, 2.0], [2.0, 1.0]])

        def losses(network: nn.Module = network, films: Tensor = films) -> list[Tensor]:
            return list(network.eval()(films)[:, 0].square())

        assert lowest(network, name, losses) != 0


def test_the_hessian_is_the_mean_over_all_films() -> None:
    network = one_layer([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    films = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    losses = list(network.eval()(films)[:, 0])
    importance(spec(importance="hessian"), network, lambda: losses)
    slope = torch.tensor([3.0, 1.0, 2.0]) / (1 + network[1].eps) ** 0.5  # of unit k, through its batch norm
    expected = torch.stack([slope**2 * 1.0 / 2, slope**2 * 4.0 / 2], 1)
    assert torch.allclose(network[0].weight.grad, expected)  # type: ignore[arg-type]


class Shuffling(nn.Module):
    """Reshapes its channels by a number that is written down: they cannot be taken out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 16, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(16, 1)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.first(image)
        mixed = maps.reshape(len(maps), 2, 4, *maps.shape[2:]).transpose(1, 2).reshape(len(maps), 8, *maps.shape[2:])
        return self.head(self.pool(self.second(mixed)).flatten(1)).flatten()  # type: ignore[no-any-return]


def test_a_layer_behind_an_operation_that_cannot_follow_is_left_dense_and_named() -> None:
    network, preprocessing = Shuffling().eval(), Preprocessing(size_px=16)
    groups = scored(network, preprocessing)
    refusing = refused(network, preprocessing, groups)
    assert refusing == ("first",)
    rest = [group for group in groups if group.name not in refusing]
    smaller = cut(network, preprocessing, least_important(rest, {"second": 8}))
    assert smaller(torch.zeros(1, 3, 16, 16)).shape == (1,)


def test_a_network_that_cannot_be_followed_is_refused_in_one_sentence() -> None:
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 1)

        def forward(self, image: Tensor) -> Tensor:
            raise ValueError("one film at a time")

    with pytest.raises(PruningError, match=r"cannot follow this network \(one film at a time\); prune it with method 'magnitude'"):
        ChannelGraph(Picky(), Preprocessing(size_px=16))


def test_a_width_of_no_layer_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="gives a width to 'features.9', which is no convolution"):
        resize(build("szanet", preprocessing_of("szanet")), {"features.9": (3, 4)})
