"""Backbones of torchvision and timm, their classifiers taken out. Nothing is downloaded before `imagenet` is called."""

from __future__ import annotations

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

from collections.abc import Callable

import torch
from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import MissingDependencyError, ModelError
from toolkit.models.transfer import Weights

MIN_SIZE_PX = 32

Published = tuple[nn.Module, Callable[[], Weights]]


def torchvision_backbone(
    name: str, classifier: str | None, preprocessing: Preprocessing, min_size_px: int = MIN_SIZE_PX, **options: bool
) -> Published:
    """torchvision's `name`, its part `classifier` taken out; and what downloads its ImageNet weights. `options` go to torchvision."""
    from torchvision.models import get_model, get_model_weights

    _refuse(name, preprocessing, min_size_px)
    backbone: nn.Module = get_model(name, weights=None, **options)
    if classifier:
        setattr(backbone, classifier, nn.Identity())

    def download() -> Weights:
        best = get_model_weights(name).DEFAULT
        return dict(torch.hub.load_state_dict_from_url(best.url, check_hash=True, weights_only=True, map_location="cpu"))

    return backbone, download


def timm_backbone(name: str, preprocessing: Preprocessing) -> Published:
    """timm's `name` without classifier, average-pooled; and what downloads its ImageNet weights."""
    try:
        import timm
    except ImportError as cause:
        raise MissingDependencyError("timm", "workshop", f"The architecture {name}") from cause
    _refuse(name, preprocessing, MIN_SIZE_PX)
    backbone: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)

    def download() -> Weights:
        return dict(timm.create_model(name, pretrained=True).state_dict())

    return backbone, download


def _refuse(name: str, preprocessing: Preprocessing, min_size_px: int) -> None:
    if preprocessing.channels != 3:
        raise ModelError(f"{name} takes three channels; set preprocessing.channels to 3 (grey is repeated, and folded again on lowering).")
    if preprocessing.size_px < min_size_px:
        raise ModelError(f"{name} needs films of at least {min_size_px} px; preprocessing.size_px is {preprocessing.size_px}.")
