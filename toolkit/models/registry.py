"""The table of names: `build` is the only way to a network."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ModelError

# Name -> file and builder; a file is imported when one of its models is built, since torchvision and timm take their time.
MODELS: dict[str, tuple[str, str]] = {
    "szanet": ("szanet", "szanet"),
    "custom_cnn": ("custom_cnn", "custom_cnn"),
    "mobilenet": ("mobilenet", "mobilenet"),
    "mobilenet_v2": ("mobilenet", "mobilenet_v2"),
    "mobilenet_v3_small": ("mobilenet", "mobilenet_v3_small"),
    "cnn_94": ("cnn_94", "cnn_94"),
    "cnn_v2": ("cnn_94", "cnn_v2"),
    "banjo_cnn": ("banjo_cnn", "banjo_cnn"),
    "vanilla_cnn": ("vanilla_cnn", "vanilla_cnn"),
    "optimized_cnn": ("vanilla_cnn", "optimized_cnn"),
    "efficientnet_b0": ("efficientnet", "efficientnet_b0"),
    "efficientnet_b0_512": ("efficientnet", "efficientnet_b0_512"),
    "densenet121": ("densenet", "densenet121"),
    "chexnet": ("densenet", "chexnet"),
    "resnet152v2": ("resnet", "resnet152v2"),
    "resnet152v2_1024": ("resnet", "resnet152v2_1024"),
    "inception_v3": ("inception", "inception_v3"),
}


def build(name: str, preprocessing: Preprocessing) -> nn.Module:
    """A freshly initialised network; raises ModelError for an unknown name, listing the known ones, and for films it cannot take."""
    if name not in MODELS:
        raise ModelError(f"Unknown model '{name}'; known models: {', '.join(sorted(MODELS))}.")
    file, function = MODELS[name]
    builder: Callable[[Preprocessing], nn.Module] = getattr(importlib.import_module(f"toolkit.models.{file}"), function)
    return builder(preprocessing)


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def count_statistics(network: nn.Module) -> int:
    """Running means and variances: what Keras counts as parameters that are not trained."""
    return sum(buffer.numel() for buffer in network.buffers() if buffer.is_floating_point())
