"""What a network looks at, and how it arranges films: maps by captum, features for the plots."""

from __future__ import annotations

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

import copy
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import MissingDependencyError
from toolkit.imaging.decode import Pixels
from toolkit.train.module import to_network

MIN_MAP_EDGE = 5  # a coarser map shows no place in the lung
BATCH = 32
Map = NDArray[np.float32]


@dataclass(frozen=True)
class Maps:
    """Of one film, float32 `[H, W]` in [0, 1], 1 is most: `activation` of the last feature maps (mean over channels, as in CNN_94's
    report), `grad_cam` for the call that was made (Selvaraju et al. 2017), `guided_grad_cam` (its product with guided backpropagation)."""

    activation: Map
    grad_cam: Map
    guided_grad_cam: Map


class ClippedReLU(nn.Module):
    """ReLU6 from a ReLU that captum can guide."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, values: Tensor) -> Tensor:
        """The same values."""
        clipped: Tensor = self.relu(values).clamp(max=6)
        return clipped


class TwoWay(nn.Module):
    """The score of the class that was called: the logit, or its negative. captum asks for a class by its column."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """`[N, C, H, W]` -> `[N, 2]`."""
        logit = self.network(image)
        return torch.stack([-logit, logit], 1)


class Explainer:
    """Draws maps of one network; it works on a copy that captum may hook."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        try:
            from captum.attr import GuidedGradCam, LayerGradCam
        except ImportError as cause:
            raise MissingDependencyError("captum", "workshop", "Grad-CAM") from cause
        self.preprocessing = preprocessing
        guided = TwoWay(_guidable(copy.deepcopy(network))).eval()
        self.network = guided
        self.layer = last_map_layer(guided, preprocessing)
        self._grad_cam = LayerGradCam(guided, self.layer)
        self._guided = GuidedGradCam(guided, self.layer)

    def maps(self, film: Pixels) -> Maps:
        """Of one film, uint8 `[1, H, W]`."""
        image = to_network(torch.from_numpy(film[None]).float(), self.preprocessing).requires_grad_()
        called = int(self.network(image)[0].argmax())
        edge = image.shape[-2:]
        cam = self._grad_cam.attribute(image, target=called, relu_attributions=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations")  # on our own copy, as captum should
            guided = self._guided.attribute(image, target=called).sum(1, keepdim=True).abs()
        return Maps(_scaled(self._activation(image), edge), _scaled(cam, edge), _scaled(guided, edge))

    def _activation(self, image: Tensor) -> Tensor:
        seen: list[Tensor] = []
        hook = self.layer.register_forward_hook(lambda _layer, _given, output: seen.append(output))
        with torch.no_grad():
            self.network(image)
        hook.remove()
        return seen[0].mean(1, keepdim=True)


def last_map_layer(network: nn.Module, preprocessing: Preprocessing) -> nn.Module:
    """The last innermost layer whose output is still a map of at least MIN_MAP_EDGE on each edge."""
    found: list[nn.Module] = []

    def look(layer: nn.Module, _given: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[-2:]) >= MIN_MAP_EDGE:
            found.append(layer)

    innermost = [layer for layer in network.modules() if not list(layer.children()) and not isinstance(layer, nn.Identity)]
    hooks = [layer.register_forward_hook(look) for layer in innermost]
    with torch.no_grad():
        network(torch.zeros(1, preprocessing.channels, preprocessing.size_px, preprocessing.size_px))
    for hook in hooks:
        hook.remove()
    return found[-1]


def features(network: nn.Module, images: Pixels, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """uint8 `[N, 1, H, W]` -> what the last linear layer is given, float32 `[N, F]`."""
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    given: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _layer, values: given.append(values[0]))
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            network.eval()(to_network(torch.from_numpy(images[start : start + BATCH]).float(), preprocessing))
    hook.remove()
    return torch.cat(given).numpy()


def _guidable(network: nn.Module) -> nn.Module:
    """No activation in place, and ReLU6 in a form that guided backpropagation knows (in place)."""
    for layer in network.modules():
        if hasattr(layer, "inplace"):
            setattr(layer, "inplace", False)  # noqa: B010
        for name, child in layer.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(layer, name, ClippedReLU())
    return network


def _scaled(values: Tensor, edge: torch.Size) -> Map:
    """`[1, 1, h, w]` stretched to the film and to [0, 1]."""
    full = nn.functional.interpolate(values.detach(), edge, mode="bilinear", align_corners=False)[0, 0]
    full = full - full.min()
    scaled: Map = (full / full.max().clamp(min=1e-12)).numpy()
    return scaled
