"""Maps of networks so small that the answer is known by hand, and of ours."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu6

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import MissingDependencyError
from toolkit.models.registry import build
from toolkit.models.transfer import Transfer
from toolkit.train.explain import ClippedReLU, Explainer, features, last_map_layer

EDGE = 16
PLAIN = Preprocessing(size_px=EDGE, scale=1.0, channels=1)  # the network sees 0..255
READ = (2, 3)  # the pixel that the linear layer reads
RELUS = {"relu": nn.ReLU, "relu6": nn.ReLU6}


class OnePixel(nn.Module):
    """Two maps, the film and 255 less it; the logit is `weights` times what they hold at READ, plus `bias`."""

    def __init__(self, weights: tuple[float, float], bias: float = 0.0, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.conv.weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
        self.conv.bias = nn.Parameter(torch.tensor([0.0, 255.0]))
        self.activation = activation or nn.ReLU(inplace=True)
        self.flat = nn.Flatten()
        self.linear = nn.Linear(2 * EDGE * EDGE, 1)
        self.linear.weight.data.zero_()
        for channel, weight in enumerate(weights):
            self.linear.weight.data[0, channel * EDGE * EDGE + READ[0] * EDGE + READ[1]] = weight
        self.linear.bias.data.fill_(bias)

    def forward(self, image: Tensor) -> Tensor:
        logit: Tensor = self.linear(self.flat(self.activation(self.conv(image))))
        return logit.flatten()


@pytest.fixture
def film() -> np.ndarray:  # type: ignore[type-arg]
    """uint8 `[1, EDGE, EDGE]`, 0 in one corner and 255 in another."""
    pixels = np.random.default_rng(0).integers(1, 255, (1, EDGE, EDGE), np.uint8)
    pixels[0, 0, 0], pixels[0, -1, -1] = 0, 255
    return pixels


def scaled(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return (values - values.min()) / (values.max() - values.min())


def test_grad_cam_is_the_map_that_the_network_reads(film: np.ndarray) -> None:  # type: ignore[type-arg]
    cam = Explainer(OnePixel((1.0, 0.0)), PLAIN).maps(film).grad_cam
    assert cam == pytest.approx(film[0] / 255, abs=1e-6)
    assert np.unravel_index(cam.argmax(), cam.shape) == (EDGE - 1, EDGE - 1)


def test_grad_cam_speaks_for_the_call_that_was_made(film: np.ndarray) -> None:  # type: ignore[type-arg]
    # the bias makes both calls negative; against the logit speaks the map that lowers it
    lowers_by_film = Explainer(OnePixel((-1.0, 0.0), bias=-1000), PLAIN).maps(film).grad_cam
    lowers_by_reverse = Explainer(OnePixel((0.0, -1.0), bias=-1000), PLAIN).maps(film).grad_cam
    raises = Explainer(OnePixel((1.0, 0.0), bias=-1000), PLAIN).maps(film).grad_cam
    assert lowers_by_film == pytest.approx(film[0] / 255, abs=1e-6)
    assert lowers_by_reverse == pytest.approx(1 - film[0] / 255, abs=1e-6)
    assert not raises.any()  # nothing on this film spoke for the call


def test_grad_cam_weighs_maps_by_their_mean_gradient(film: np.ndarray) -> None:  # type: ignore[type-arg]
    cam = Explainer(OnePixel((3.0, -1.0), bias=1000), PLAIN).maps(film).grad_cam
    grey = film[0].astype(np.float64)
    assert cam == pytest.approx(scaled(np.maximum(3 * grey - (255 - grey), 0)), abs=1e-5)


def test_the_activation_is_the_mean_of_the_last_maps(film: np.ndarray) -> None:  # type: ignore[type-arg]
    network = OnePixel((1.0, 0.0))
    network.conv.weight.data = torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1)  # the second map is white all over
    assert Explainer(network, PLAIN).maps(film).activation == pytest.approx(film[0] / 255, abs=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_guided_grad_cam_lies_where_the_network_reads(channels: int, film: np.ndarray) -> None:  # type: ignore[type-arg]
    network = OnePixel((1.0, 0.0))
    if channels == 3:
        network.conv.weight.data = network.conv.weight.data.repeat(1, 3, 1, 1) / 3
        network.conv.in_channels = 3
    guided = Explainer(network, Preprocessing(size_px=EDGE, scale=1.0, channels=channels)).maps(film).guided_grad_cam  # type: ignore[arg-type]
    expected = np.zeros((EDGE, EDGE))
    expected[READ] = 1
    assert guided == pytest.approx(expected, abs=1e-6)


def test_maps_of_a_coarser_layer_are_stretched_to_the_film() -> None:
    film = np.zeros((1, EDGE, EDGE), np.uint8)
    film[0, 10:, :4] = 200
    network = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0))
    network[1].weight.data.fill_(1)
    network[4].weight.data.fill_(1)
    maps = Explainer(network, PLAIN).maps(film)
    for found in (maps.activation, maps.grad_cam):
        assert (found.shape, found.dtype, found.min(), found.max()) == ((EDGE, EDGE), np.float32, 0, 1)
        assert (found[12:, :2] == 1).all()
        assert not found[:8].any()
        assert not found[:, 8:].any()


@pytest.mark.parametrize("name", RELUS)
def test_the_network_that_is_explained_stays_as_it_is(name: str, film: np.ndarray) -> None:  # type: ignore[type-arg]
    network = OnePixel((1.0, 0.5), activation=RELUS[name](inplace=True)).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    Explainer(network, PLAIN).maps(film)
    assert type(network.activation) is RELUS[name]
    assert network.activation.inplace is True
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    assert not any(getattr(layer, hook) for layer in network.modules() for hook in hooks)


def test_a_second_film_is_explained_as_in_an_explainer_of_its_own(film: np.ndarray) -> None:  # type: ignore[type-arg]
    again = Explainer(OnePixel((3.0, -1.0), bias=1000), PLAIN)
    again.maps(255 - film)
    first, second = again.maps(film), Explainer(OnePixel((3.0, -1.0), bias=1000), PLAIN).maps(film)
    for name in ("activation", "grad_cam", "guided_grad_cam"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name


def test_clipped_relu_is_relu6_in_value_and_in_gradient() -> None:
    values = torch.tensor([-7.0, -0.5, 0.5, 3.0, 5.999, 6.001, 7.0, 100.0], requires_grad=True)
    clipped = ClippedReLU()(values)
    assert torch.equal(clipped, relu6(values))
    (gradient,) = torch.autograd.grad(clipped.sum(), values)
    assert gradient.tolist() == [0, 0, 1, 1, 1, 0, 0, 0]


def test_a_network_of_relu6_gives_the_same_logits_when_it_is_explained(film: np.ndarray) -> None:  # type: ignore[type-arg]
    network = OnePixel((1.0, 0.0), bias=-3.5, activation=nn.ReLU6())
    for level in (0, 2, 5, 6, 7, 200):  # below and beyond where it is cut off
        film[0, *READ] = level
        image = torch.from_numpy(film[None]).float()
        (both,) = Explainer(network, PLAIN).network(image)
        assert both.tolist() == [3.5 - min(level, 6), min(level, 6) - 3.5] == [-network(image).item(), network(image).item()]


def test_beyond_six_a_pixel_of_a_relu6_network_has_no_guided_gradient() -> None:
    film = np.full((1, EDGE, EDGE), 3, np.uint8)
    other = (9, 9)
    film[0, *other] = 200
    network = OnePixel((1.0, 0.0), activation=nn.ReLU6(inplace=True))
    network.linear.weight.data[0, other[0] * EDGE + other[1]] = 1.0
    guided = Explainer(network, PLAIN).maps(film).guided_grad_cam
    assert guided[READ] == 1
    assert guided[other] == 0


@pytest.mark.parametrize("name", RELUS)
def test_guidance_stops_gradients_that_speak_against_the_call(name: str) -> None:
    film = np.full((1, EDGE, EDGE), 3, np.uint8)
    other = (9, 9)
    network = OnePixel((1.0, 0.0), activation=RELUS[name]())
    network.linear.weight.data[0, other[0] * EDGE + other[1]] = -0.5  # a plain gradient would show it, half as bright
    guided = Explainer(network, PLAIN).maps(film).guided_grad_cam
    assert guided[READ] == 1
    assert guided[other] == 0


def last_map(name: str) -> tuple[nn.Module, nn.Module]:
    """(found, expected) of a model at 224 pixels; where its maps end is in its own file."""
    preprocessing = Preprocessing(size_px=224)
    network = build(name, preprocessing).eval()
    if isinstance(network, Transfer):
        expected = network.backbone.get_submodule("features.18.2")  # ReLU6 behind 7 x 7 maps, before pooling
    else:
        place = {"szanet": "features.2.4", "custom_cnn": "features.4.3", "vanilla_cnn": "features.7"}[name]
        expected = network.get_submodule(place)
    return last_map_layer(network, preprocessing), expected


@pytest.mark.parametrize(
    ("name", "kind"), [("szanet", nn.Dropout), ("custom_cnn", nn.MaxPool2d), ("mobilenet_v2", nn.ReLU6), ("vanilla_cnn", nn.ReLU)]
)
def test_the_last_maps_of_our_networks_are_found(name: str, kind: type[nn.Module]) -> None:
    found, expected = last_map(name)
    assert found is expected
    assert type(found) is kind


def test_maps_too_coarse_to_show_a_place_are_passed_over() -> None:
    wide, narrow = nn.Conv2d(1, 1, 3, stride=3), nn.Conv2d(1, 1, 2)  # [N, 1, 5, 5], then [N, 1, 4, 4]
    network = nn.Sequential(wide, nn.Identity(), narrow, nn.Flatten(), nn.Linear(16, 1))
    assert last_map_layer(network, PLAIN) is wide
    assert not wide._forward_hooks


def test_features_are_what_the_last_linear_layer_is_given() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(EDGE * EDGE, 7), nn.ReLU(), nn.Dropout(0.9), nn.Linear(7, 1), nn.Flatten(0)).train()
    images = np.random.default_rng(1).integers(0, 256, (70, 1, EDGE, EDGE), np.uint8)  # more than two batches
    preprocessing = Preprocessing(size_px=EDGE, scale=1 / 127.5, offset=-1.0, channels=1)
    found = features(network, images, preprocessing)
    pixels = images.reshape(70, -1) / 127.5 - 1
    expected = np.maximum(pixels @ network[1].weight.detach().numpy().T + network[1].bias.detach().numpy(), 0)
    assert (found.shape, found.dtype) == ((70, 7), np.float32)
    assert found == pytest.approx(expected, abs=1e-5)


def test_without_captum_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MissingDependencyError, match=r"Grad-CAM needs the package 'captum'.*pip install 'cxr-edge\[workshop\]'"):
        Explainer(OnePixel((1.0, 0.0)), PLAIN)
