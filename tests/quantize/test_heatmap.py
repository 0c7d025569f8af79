"""The graph's own heatmap: by hand, and against the workshop's Grad-CAM."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from tests.conftest import KERMANY, needs_kermany
from tests.quantize.test_rewrites import noisy
from toolkit.core.preprocessing import Preprocessing
from toolkit.imaging.decode import Pixels
from toolkit.imaging.prepare import prepare_file
from toolkit.models.registry import build
from toolkit.quantize.lower import lower
from toolkit.train.explain import Explainer

FILM = Preprocessing(size_px=224, normalise="film", scale=1.0)
Values = NDArray[np.float32]


def outputs(raw: bytes, images: Pixels) -> tuple[Values, Values]:
    session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    logits, heat = session.run(("logit", "heatmap"), {"image": images})
    return logits, heat


class Small(nn.Module):
    """One map per grey value, a hidden layer of two units, one of which is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 1, 1, bias=False)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(36, 2), nn.ReLU(), nn.Linear(2, 1))
        nn.init.ones_(self.first.weight)
        with torch.no_grad():
            self.head[1].weight[0] = 0.5
            self.head[1].weight[1] = -1
            self.head[1].bias.zero_()
            self.head[3].weight.copy_(torch.tensor([[3.0, 7.0]]))
            self.head[3].bias.zero_()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logit: torch.Tensor = self.head(self.first(image)).flatten()
        return logit


def test_a_weight_of_a_half_behind_one_of_three_by_hand() -> None:
    """The second unit is shut on any film that is not black; d logit / d grey is 3 * .5 at every place: the map is 1.5 times the film."""
    film = np.arange(36, dtype=np.uint8).reshape(1, 1, 6, 6)
    logits, heat = outputs(lower(Small(), Preprocessing(size_px=6, channels=1, scale=1.0), 20), film)
    assert heat[0] == pytest.approx(1.5 * film[0, 0])
    assert logits == pytest.approx(1.5 * film.sum())


def as_grad_cam(heat: Values, logit: float) -> Values:
    """The positive part for the call that was made, stretched to the film, as the workshop draws it."""
    positive = torch.from_numpy(np.maximum(heat if logit >= 0 else -heat, 0))[None, None]
    drawn: Values = functional.interpolate(positive, (224, 224), mode="bilinear", align_corners=False)[0, 0].numpy()
    return drawn


def network_of(name: str) -> nn.Module:
    if name == "custom_cnn":
        return noisy(224)
    torch.manual_seed(5)
    return build(name, FILM).eval()


@needs_kermany
@pytest.mark.parametrize("name", ["szanet", "custom_cnn", "mobilenet_v2", "mobilenet"])
def test_it_is_the_workshops_grad_cam_on_real_films(name: str) -> None:
    network = network_of(name)
    films = np.stack([prepare_file(file, FILM)[None] for file in sorted((KERMANY / "test").rglob("*.jpeg"))[::80]])
    explainer = Explainer(network, FILM)
    compared = 0
    for film, logit, heat in zip(films, *outputs(lower(network, FILM, 20), films), strict=True):
        expected, found = explainer.maps(film).grad_cam, as_grad_cam(heat, logit)
        if expected.max() > 0:  # else no place speaks for the call
            assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.99
            compared += 1
    assert compared >= 4


def names(model: str, size_px: int = 224) -> list[str]:
    raw = lower(build(model, Preprocessing(size_px=size_px)), Preprocessing(size_px=size_px), 20)
    return [output.name for output in onnx.load_model_from_string(raw).graph.output]


@pytest.mark.parametrize("model", ["cnn_94", "banjo_cnn"])
def test_a_head_of_another_form_has_none(model: str) -> None:
    """LeakyReLU, and a logit that is the difference of two units."""
    assert names(model) == ["logit"]


def test_a_map_too_coarse_to_show_a_place_is_left_out() -> None:
    assert names("custom_cnn", 64) == ["logit"]
    assert names("custom_cnn", 160) == ["logit", "heatmap"]
