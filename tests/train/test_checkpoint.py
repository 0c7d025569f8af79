"""Checkpoints: round trip, changed weights, weights of another model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import BundleError, ModelError, StageError
from toolkit.models.registry import build
from toolkit.train.checkpoint import load_checkpoint, weights_of
from toolkit.train.weights import initialise


def test_a_checkpoint_comes_back_with_equal_weights(finished_run: Path) -> None:
    checkpoint, network = load_checkpoint(finished_run / "train")
    assert (finished_run / "train" / "weights.safetensors").read_bytes() == weights_of(network)
    assert checkpoint.model == "szanet"
    assert not network.training


def test_no_checkpoint_names_the_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="run the stage before first"):
        load_checkpoint(tmp_path)


def test_changed_weights_are_refused(copy_of_run: Path) -> None:
    file = copy_of_run / "train" / "weights.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(BundleError, match="its digest differs"):
        load_checkpoint(copy_of_run / "train")


def test_weights_of_another_model_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"features.0.0.weight": torch.zeros(2, 2), "stem": torch.zeros(1)}, file)
    network = build("szanet", Preprocessing(size_px=32))
    with pytest.raises(ModelError, match=r"features.0.0.bias \(missing\)"):
        initialise(network, str(file))


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    torch.save({"features.0.0.weight": torch.zeros(2)}, file)
    with pytest.raises(ModelError, match="is no file of plain weights"):
        initialise(build("szanet", Preprocessing(size_px=32)), str(file))


def test_training_leaves_no_pickled_progress_behind(finished_run: Path) -> None:
    assert sorted(path.name for path in (finished_run / "train").iterdir()) == [
        "checkpoint.json",
        "history.csv",
        "stage.json",
        "weights.safetensors",
    ]
    assert json.loads((finished_run / "train" / "checkpoint.json").read_text())["provenance"]["synthetic"] is True
