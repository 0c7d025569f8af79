"""Weights to begin with: random, published ImageNet weights, or a file. Nothing pickled is executed."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from toolkit.errors import ModelError
from toolkit.models.transfer import Transfer, Weights

BATCH_COUNT = ".num_batches_tracked"
# What torch's reader of pickles raises, as a damaged file may have it.
DAMAGED = (
    safetensors.SafetensorError,
    pickle.UnpicklingError,
    struct.error,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
)


def initialise(network: nn.Module, weights: str) -> None:
    """Fill `network` as `train.weights` says; raises ModelError for weights that do not fit or cannot be had.

    A file may hold the whole network, or a backbone as it was published: then the head stays as it is.
    """
    if weights == "random":
        return
    if weights == "imagenet":
        tensors, where = _imagenet(network), "the ImageNet weights"
    else:
        tensors, where = read_tensors(Path(weights)), weights
    if isinstance(network, Transfer) and not any(name.startswith("backbone.") for name in tensors):
        tensors = _placed(network, tensors)
    fill(network, tensors, where)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a state dict that torch saved."""
    if not path.is_file():
        raise ModelError(f"No weights at {path}; train.weights is 'random', 'imagenet' or a file (.safetensors, .pt, .pth).")
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        found = torch.load(path, weights_only=True, map_location="cpu")
    except DAMAGED as cause:
        reason = (str(cause) or type(cause).__name__).splitlines()[0]
        raise ModelError(f"{path} is no file of plain weights ({reason}); give a state dict, saved by torch or as safetensors.") from cause
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise ModelError(f"{path} holds {type(found).__name__}, expected a state dict: names and tensors.")
    return dict(found)


def fill(network: nn.Module, tensors: Weights, where: str) -> None:
    """Load all tensors into all places; raises ModelError that lists names and shapes which do not fit."""
    own = network.state_dict()
    odd = [f"{name} (missing)" for name in own if name not in tensors]
    odd += [f"{name} (unknown)" for name in tensors if name not in own]
    odd += [
        f"{name} (found {list(tensors[name].shape)}, expected {list(own[name].shape)})"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if odd:
        raise ModelError(f"{where} holds weights of another model: {', '.join(odd[:6])}{', ...' if len(odd) > 6 else ''}.")
    with torch.no_grad():
        network.load_state_dict(dict(tensors))


def _placed(network: Transfer, published: Weights) -> Weights:
    """Published tensors under the names of `network`; what its head has of its own stays as it is.

    So do batch norms' counts of batches, which files from before torch 0.4.1 lack and nothing here reads.
    """
    own = {name: value for name, value in network.state_dict().items() if name.startswith("head.") or name.endswith(BATCH_COUNT)}
    return own | {place: value for name, value in published.items() if (place := network.place(name))}


def _imagenet(network: nn.Module) -> Weights:
    if not isinstance(network, Transfer) or network.imagenet is None:
        raise ModelError("There are no ImageNet weights for this model; set train.weights to 'random' or to a file.")
    try:
        return network.imagenet()
    except (URLError, OSError, RuntimeError) as cause:
        raise ModelError(
            f"The ImageNet weights cannot be downloaded ({cause}); on a machine without network, give a file of them: train.weights=FILE."
        ) from cause
