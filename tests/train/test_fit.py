"""The loop: it learns, keeps the best epoch, stops at a loss that is no number."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import TrainSpec
from toolkit.data.cases import Case
from toolkit.data.films import Films
from toolkit.errors import TrainingError
from toolkit.models.registry import build
from toolkit.train.fit import fit
from toolkit.train.module import Classifier, to_network
from toolkit.train.score import score

PREPROCESSING = Preprocessing(size_px=32, channels=1)


def bright_and_dark(count: int) -> Films:
    """Films whose class is plain: positives are bright."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 2
    images = random.integers(0, 60, (count, 1, 32, 32)) + 150 * labels[:, None, None, None]
    cases = tuple(Case(str(n), "train", int(label), str(n), "unknown", str(n)) for n, label in enumerate(labels))
    return Films(images.astype(np.uint8), labels.astype(np.int64), cases)


def module(spec: TrainSpec) -> Classifier:
    torch.manual_seed(0)
    return Classifier(build("szanet", PREPROCESSING), spec, PREPROCESSING, seed=0)


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_it_learns_a_plain_difference(tmp_path: Path) -> None:
    films = bright_and_dark(48)
    classifier = module(TrainSpec(model="szanet", epochs=6, batch_size=8, learning_rate=3e-3))
    fit(classifier, films, films, tmp_path)
    logits = score(classifier.network, films.images, PREPROCESSING)
    assert logits[films.labels == 1].min() > logits[films.labels == 0].max()


def test_the_kept_epoch_is_the_one_with_the_least_heldout_loss(tmp_path: Path) -> None:
    films = bright_and_dark(24)
    result = fit(module(TrainSpec(model="szanet", epochs=4, batch_size=8, learning_rate=0.05)), films, films, tmp_path)
    losses = [float(row["holdout_loss"]) for row in history(tmp_path)]
    assert result.epochs == len(losses)
    assert result.best_epoch == 1 + int(np.argmin(losses))


def test_early_stopping_ends_a_training_that_stands_still(tmp_path: Path) -> None:
    films = bright_and_dark(16)
    spec = TrainSpec(model="szanet", epochs=40, batch_size=8, learning_rate=1e-12, early_stopping_epochs=2, plateau_epochs=1)
    classifier = module(spec)
    for layer in classifier.network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 0.0  # nothing moves at all
    assert fit(classifier, films, films, tmp_path).epochs == 3


def test_a_loss_that_is_no_number_stops_with_the_epoch(tmp_path: Path) -> None:
    films = bright_and_dark(16)
    classifier = module(TrainSpec(model="szanet", epochs=2, batch_size=8, learning_rate=1e-3))
    next(classifier.network.parameters()).data.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"loss of epoch 1, batch 1 is nan; .* Lower train.learning_rate \(now 0.001\)"):
        fit(classifier, films, films, tmp_path)


def test_the_network_sees_three_equal_scaled_channels() -> None:
    batch = to_network(torch.full((2, 1, 4, 4), 51.0), Preprocessing(size_px=32))
    assert batch.shape == (2, 3, 4, 4)
    assert torch.allclose(batch, torch.tensor(0.2))
