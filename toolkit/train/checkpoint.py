"""Checkpoints on disk: `checkpoint.json` and `weights.safetensors`. Nothing pickled is ever loaded."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from torch import nn

from toolkit.core.artifacts import Checkpoint
from toolkit.core.codec import encode_json, read_json
from toolkit.core.files import sha256_of, sha256_of_bytes, write_atomically
from toolkit.errors import BundleError, StageError
from toolkit.models.registry import build
from toolkit.models.resize import resize
from toolkit.train.weights import fill, read_tensors

DESCRIPTION = "checkpoint.json"
WEIGHTS = "weights.safetensors"


def weights_of(network: nn.Module) -> bytes:
    """All tensors of the network as safetensors bytes; equal weights give equal bytes."""
    return bytes(safetensors.torch.save({name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}))


def save_checkpoint(folder: Path, checkpoint: Checkpoint, weights: bytes) -> None:
    """Write both files, the description last: where it is, the weights are whole."""
    if sha256_of_bytes(weights) != checkpoint.weights_sha256:
        raise AssertionError("a checkpoint must name its own weights")
    write_atomically(folder / WEIGHTS, weights)
    write_atomically(folder / DESCRIPTION, encode_json(checkpoint))


def has_checkpoint(folder: Path) -> bool:
    """True when a whole checkpoint lies in the folder."""
    return (folder / DESCRIPTION).is_file()


def load_checkpoint(folder: Path) -> tuple[Checkpoint, nn.Module]:
    """The description and the network in evaluation mode.

    Raises StageError when there is none, BundleError when the weights were changed, ModelError when they are another model's.
    """
    if not has_checkpoint(folder):
        raise StageError(f"No checkpoint in {folder}; run the stage before first (cxr-edge train, then prune).")
    checkpoint = read_json(folder / DESCRIPTION, Checkpoint)
    if sha256_of(folder / WEIGHTS) != checkpoint.weights_sha256:
        raise BundleError(f"{folder / WEIGHTS} is not the file that {DESCRIPTION} names: its digest differs; train again.")
    network = build(checkpoint.model, checkpoint.preprocessing)
    resize(network, checkpoint.widths)
    fill(network, read_tensors(folder / WEIGHTS), str(folder / WEIGHTS))
    return checkpoint, network.eval()
