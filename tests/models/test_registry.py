"""Every model of the table: its counts against published ones, its logits, the films it refuses, the report recipes that freeze it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from tests.conftest import ROOT
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import Recipe, read_recipe
from toolkit.errors import ModelError
from toolkit.models.registry import MODELS, build, count_parameters, count_statistics
from toolkit.models.transfer import Transfer
from toolkit.train.freeze import train_only


def dense(width_in: int, *widths: int) -> int:
    """Weights and biases of linear layers."""
    return sum(a * b + b for a, b in zip((width_in, *widths), widths, strict=False))


def conv(width_in: int, width_out: int, edge: int) -> int:
    """Weights and biases of a convolution."""
    return width_in * width_out * edge * edge + width_out


# What torchvision publishes with its ImageNet weights (`num_params`), less the classifiers that are taken out.
MOBILENET_V2 = 3_504_872 - dense(1280, 1000)
MOBILENET_V3_SMALL = 2_542_856 - dense(576, 1024, 1000)
EFFICIENTNET_B0 = 5_288_548
DENSENET_121 = 7_978_856 - dense(1024, 1000)
INCEPTION_AUXILIARY = 768 * 128 + 2 * 128 + 128 * 768 * 25 + 2 * 768 + dense(768, 1000)
INCEPTION_V3 = 27_161_264 - INCEPTION_AUXILIARY - dense(2048, 1000)
# Keras' convolutions before a sum, and its first one, have biases that timm's lack.
RESNET_BIASES = 64 + sum(4 * width * (blocks + 1) for width, blocks in ((64, 3), (128, 8), (256, 36), (512, 3)))
RESNET_152_V2 = 58_331_648 - 143_744 - RESNET_BIASES

BANJO = conv(1, 32, 3) + conv(32, 64, 3) + conv(64, 128, 3) + dense(128 * 16 * 16, 128, 1)
VANILLA = conv(3, 16, 2) + conv(16, 32, 2) + conv(32, 64, 2) + conv(64, 16, 2) + dense(16, 500, 2)
CNN_94 = conv(1, 12, 3) + 24 + conv(12, 18, 3) + conv(18, 24, 3) + dense(21 * 21 * 24, 1000) + 2000 + dense(1000, 100, 10, 2)
CNN_V2_MAPS = conv(1, 12, 5) + 24 + conv(12, 12, 3) + conv(12, 16, 3) + conv(16, 12, 3) + conv(12, 12, 3)
CNN_V2 = CNN_V2_MAPS + dense(20 * 20 * 12, 1000) + 2000 + dense(1000, 100, 10, 2)

# name -> (edge, channels) of the report's films, trainable parameters, running statistics. Statistics of published backbones are
# those that Keras Applications lists as parameters that are not trained. Counts of a report are written out whole.
COUNTS: dict[str, tuple[tuple[int, int], int, int]] = {
    "szanet": ((224, 3), 2_792_833, 2 * (16 + 32 + 64)),
    "custom_cnn": ((224, 3), 979_329, 960),
    "mobilenet": ((32, 3), 4_279_489 - 21_888, 21_888),
    "mobilenet_v2": ((32, 3), MOBILENET_V2 + dense(1280, 1), 34_112),
    "mobilenet_v3_small": ((32, 3), MOBILENET_V3_SMALL + dense(576, 1024, 1), 12_112),
    "cnn_94": ((100, 1), CNN_94, 2 * 12 + 2 * 1000),
    "cnn_v2": ((100, 1), CNN_V2, 2 * 12 + 2 * 1000),
    "banjo_cnn": ((128, 1), BANJO, 0),
    "vanilla_cnn": ((224, 3), VANILLA, 0),
    "optimized_cnn": ((224, 3), VANILLA, 0),
    "efficientnet_b0": ((32, 3), EFFICIENTNET_B0 - dense(1280, 1000) + dense(1280, 500, 100, 2), 42_016),
    "efficientnet_b0_512": ((32, 3), 5_843_589 - 42_016, 42_016),
    "densenet121": ((32, 3), 7_038_529 - 83_648, 83_648),
    "chexnet": ((32, 3), 7_051_869 - 83_648, 83_648),
    "resnet152v2": ((32, 3), RESNET_152_V2 + dense(2048, 128, 1), 143_744),
    "resnet152v2_1024": ((32, 3), 60_430_849 - 143_744 - RESNET_BIASES, 143_744),
    "inception_v3": ((75, 3), INCEPTION_V3 + dense(2048, 2), 34_432),
}
SMALLEST = {"szanet": 22, "custom_cnn": 32, "cnn_94": 40, "cnn_v2": 40, "banjo_cnn": 16, "inception_v3": 75} | dict.fromkeys(
    ("mobilenet", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "efficientnet_b0_512", "densenet121", "chexnet"), 32
)
WITHOUT_REPORT_RECIPE = ("mobilenet_v2", "mobilenet_v3_small")  # in no report
BACKBONES = [name for name, (_, _, statistics) in COUNTS.items() if statistics > 10_000]


def films(size_px: int, channels: int) -> Preprocessing:
    return Preprocessing(size_px=size_px, channels=channels)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=list(COUNTS))
def built(request: pytest.FixtureRequest) -> Iterator[tuple[str, nn.Module]]:
    """Each model in turn, for films of its report's size; those that end in global pooling for small ones."""
    (size_px, channels), _, _ = COUNTS[request.param]
    yield request.param, build(request.param, films(size_px, channels))


def test_the_table_here_has_every_model() -> None:
    assert set(COUNTS) == set(MODELS)


def test_counts_are_the_published_ones(built: tuple[str, nn.Module]) -> None:
    name, network = built
    _, parameters, statistics = COUNTS[name]
    assert (count_parameters(network), count_statistics(network)) == (parameters, statistics)


def test_a_batch_gives_as_many_finite_logits(built: tuple[str, nn.Module]) -> None:
    name, network = built
    size_px, channels = COUNTS[name][0]
    torch.manual_seed(1)
    with torch.inference_mode():
        logits = network.eval()(torch.rand(2, channels, size_px, size_px))
    assert logits.shape == (2,)
    assert torch.isfinite(logits).all()


def test_the_two_cnns_of_the_first_report_have_these_counts() -> None:
    assert (CNN_94, CNN_V2, BANJO, VANILLA) == (10_694_150, 4_910_568, 4_287_233, 24_158)


def test_the_biases_of_keras_are_all_that_resnet_lacks() -> None:
    assert RESNET_BIASES == 58_331_648 - 58_136_128 - 143_744


@pytest.mark.parametrize("name", ["szanet", "custom_cnn", "cnn_94", "cnn_v2", "banjo_cnn"])
def test_the_smallest_films_give_finite_logits(name: str) -> None:
    network = build(name, films(SMALLEST[name], 1)).eval()
    with torch.inference_mode():
        logits = network(torch.rand(2, 1, SMALLEST[name], SMALLEST[name]))
    assert logits.shape == (2,)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("name", "size_px"), SMALLEST.items())
def test_smaller_films_are_refused_with_a_sentence(name: str, size_px: int) -> None:
    with pytest.raises(ModelError, match=rf"films of at least {size_px} px; preprocessing.size_px is {size_px - 1}\.$"):
        build(name, films(size_px - 1, 3))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_published_backbone_refuses_one_channel(name: str) -> None:
    with pytest.raises(ModelError, match=r"takes three channels; set preprocessing.channels to 3 \(grey is repeated"):
        build(name, films(224, 1))


def test_an_unknown_model_lists_all_known_ones_in_order() -> None:
    with pytest.raises(ModelError) as caught:
        build("vgg", Preprocessing())
    assert str(caught.value) == f"Unknown model 'vgg'; known models: {', '.join(sorted(COUNTS))}."


# The reports' counts of parameters that learn, by recipe; by hand where the report gives none.
FIRST_INCEPTION_LAYERS = 3 * 32 * 9 + 2 * 32 + 32 * 32 * 9 + 2 * 32 + 32 * 64 * 9 + 2 * 64
LEARNING = {
    "mobilenet": 1_052_673,
    "densenet121": 167_169,
    "chexnet": 180_509,
    "efficientnet-b0-512": 513_025,
    "resnet152v2-1024": 2_103_297,
    "efficientnet-b0": dense(1280, 500, 100, 2),
    "resnet152v2": dense(2048, 128, 1),
    "inception-v3": dense(2048, 2),
    "inception-v3-finetune": dense(2048, 2) + FIRST_INCEPTION_LAYERS,
}
RECIPES = {path.stem: read_recipe(path) for path in sorted((ROOT / "recipes" / "reports").glob("*.yaml"))}


def test_what_a_report_recipe_trains_of_it_has_the_count_of_the_report(built: tuple[str, nn.Module]) -> None:
    name, network = built
    recipes = [recipe for recipe in RECIPES if RECIPES[recipe].train.model == name]
    assert recipes or name in WITHOUT_REPORT_RECIPE
    for recipe in recipes:
        train_only(network, RECIPES[recipe].train.trainable)
        assert count_parameters(network) == LEARNING.get(recipe, COUNTS[name][1])


@pytest.mark.parametrize("recipe", [recipe for name, recipe in RECIPES.items() if name not in LEARNING], ids=lambda recipe: recipe.name)
def test_the_other_report_recipes_train_all_of_a_model_at_the_size_of_the_report(recipe: Recipe) -> None:
    assert recipe.train.trainable == ()
    assert COUNTS[recipe.train.model][0] == (recipe.preprocessing.size_px, recipe.preprocessing.channels)


# model -> units after each linear layer of its head, and the rates of its dropouts
HEADS: dict[str, tuple[list[int], list[float]]] = {
    "mobilenet": ([1024, 1], []),
    "mobilenet_v2": ([1], [0.2]),
    "mobilenet_v3_small": ([1024, 1], [0.2]),
    "efficientnet_b0": ([500, 100, 2], [0.3, 0.3]),
    "efficientnet_b0_512": ([512, 1], []),
    "densenet121": ([1], []),
    "chexnet": ([14, 1], []),
    "resnet152v2": ([128, 1], [0.5]),
    "resnet152v2_1024": ([1024, 1], []),
    "inception_v3": ([2], []),
}


def test_the_head_on_a_published_backbone_is_that_of_the_report(built: tuple[str, nn.Module]) -> None:
    name, network = built
    assert isinstance(network, Transfer) is (name in HEADS) is (name in BACKBONES)
    if isinstance(network, Transfer):
        units = [layer.out_features for layer in network.head.modules() if isinstance(layer, nn.Linear)]
        rates = [layer.p for layer in network.head.modules() if isinstance(layer, nn.Dropout)]
        assert (units, rates) == HEADS[name]
