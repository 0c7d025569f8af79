"""The loop: it learns, keeps the wanted epoch, resumes exactly, stops at a loss that is no number or a full memory."""

from __future__ import annotations

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import AugmentSpec, OptimizerSpec, OversampleSpec, ScheduleSpec, TrainSpec
from toolkit.data.cases import Case
from toolkit.data.films import Films
from toolkit.errors import TrainingError
from toolkit.models.registry import build
from toolkit.train.checkpoint import weights_of
from toolkit.train.fit import FitResult, fit, forget_progress, read_history
from toolkit.train.module import Classifier, to_network
from toolkit.train.score import score
from toolkit.train.speed import QuickDropout

PREPROCESSING = Preprocessing(size_px=32, channels=1)
# All that has a state of its own: average, schedule by batches, copies, augmentation; the network has dropout and batch norms.
EVERYTHING = TrainSpec(
    model="szanet",
    epochs=4,
    batch_size=8,
    learning_rate=3e-3,
    optimizer=OptimizerSpec(name="adamw", weight_decay=0.05, fan_in=100),
    schedule=ScheduleSpec(name="one_cycle"),
    dropout_factor=0.5,
    balance="oversample",
    oversample=OversampleSpec(ratio=1.0),
    augment=AugmentSpec(flip=True, rotate_deg=8, noise=0.05, blur_px=1.0, erase=0.25),
    average=0.9,
    keep="last",
)
# The held-out loss is least after the first epoch: the steps are far too large.
RISING = TrainSpec(model="szanet", epochs=4, batch_size=8, learning_rate=0.05, early_stopping_epochs=None)


def bright_and_dark(count: int, size: int = 32) -> Films:
    """Films whose class is plain: positives are bright."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 2
    images = random.integers(0, 60, (count, 1, size, size)) + 150 * labels[:, None, None, None]
    cases = tuple(Case(str(n), "train", int(label), str(n), "unknown", str(n)) for n, label in enumerate(labels))
    return Films(images.astype(np.uint8), labels.astype(np.int64), cases)


def module(spec: TrainSpec) -> Classifier:
    torch.manual_seed(0)
    return Classifier(build("szanet", PREPROCESSING), spec, PREPROCESSING, seed=0)


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as stream:
        return list(csv.DictReader(stream))


def few_negatives() -> Films:
    """Twelve positive films, six negative ones."""
    return bright_and_dark(24).take([n for n in range(24) if n % 2 or n < 12])


class Epochs(Callback):
    """Notes which epochs ran, and the weights after each."""

    def __init__(self) -> None:
        self.ran: list[int] = []
        self.weights: list[bytes] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ran.append(trainer.current_epoch + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        self.weights.append(weights_of(pl_module.network))


class KilledError(Exception):
    """Stands for a signal that ends the process."""


class Kill(Callback):
    """Ends the training before a batch (both counted from 1)."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.when = (epoch - 1, batch - 1)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.when:
            raise KilledError


class Poison(Callback):
    """Breaks the weights after the last batch of an epoch (from 1)."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch - 1

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == self.epoch and batch_idx == trainer.num_training_batches - 1:
            next(pl_module.parameters()).data.fill_(float("nan"))


def killed(spec: TrainSpec, films: Films, folder: Path, epoch: int, batch: int) -> None:
    with pytest.raises(KilledError):
        fit(module(spec), films, films, folder, [Kill(epoch, batch)])


def test_it_learns_a_plain_difference(tmp_path: Path) -> None:
    films = bright_and_dark(48)
    classifier = module(TrainSpec(model="szanet", epochs=6, batch_size=8, learning_rate=3e-3))
    fit(classifier, films, films, tmp_path)
    logits = score(classifier.network, films.images, PREPROCESSING)
    assert logits[films.labels == 1].min() > logits[films.labels == 0].max()


def test_best_keeps_the_epoch_with_the_least_heldout_loss(tmp_path: Path) -> None:
    films, epochs, classifier = bright_and_dark(24), Epochs(), module(RISING)
    result = fit(classifier, films, films, tmp_path, [epochs])
    losses = [float(row["holdout_loss"]) for row in history(tmp_path)]
    assert result == FitResult(epochs=4, best_epoch=1 + int(np.argmin(losses)))
    assert result.best_epoch < 4
    assert weights_of(classifier.network) == epochs.weights[result.best_epoch - 1]


def test_last_keeps_the_last_epoch(tmp_path: Path) -> None:
    films, epochs, classifier = bright_and_dark(24), Epochs(), module(RISING.__replace__(keep="last"))
    assert fit(classifier, films, films, tmp_path, [epochs]) == FitResult(epochs=4, best_epoch=4)
    assert weights_of(classifier.network) == epochs.weights[3]


def standing_still(patience: int | None) -> Classifier:
    spec = TrainSpec(model="szanet", epochs=6, batch_size=8, learning_rate=1e-12, early_stopping_epochs=patience)
    classifier = module(spec)
    for layer in classifier.network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.0  # nothing moves at all
    return classifier


@pytest.mark.parametrize(("patience", "epochs"), [(2, 3), (None, 6)])
def test_early_stopping_ends_a_training_that_stands_still_and_null_does_not(patience: int | None, epochs: int, tmp_path: Path) -> None:
    films = bright_and_dark(16)
    assert fit(standing_still(patience), films, films, tmp_path).epochs == epochs


@pytest.mark.parametrize(("epoch", "batch"), [(1, 2), (3, 1), (4, 3)])
def test_a_killed_training_ends_with_the_same_weights(epoch: int, batch: int, undisturbed: bytes, tmp_path: Path) -> None:
    films, resumed = few_negatives(), module(EVERYTHING)
    killed(EVERYTHING, films, tmp_path, epoch, batch)
    assert fit(resumed, films, films, tmp_path) == FitResult(epochs=4, best_epoch=4)
    assert weights_of(resumed.network) == undisturbed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a training with everything that was left in peace."""
    films, classifier = few_negatives(), module(EVERYTHING)
    fit(classifier, films, films, tmp_path_factory.mktemp("undisturbed"))
    return weights_of(classifier.network)


@pytest.mark.parametrize(
    "spec",
    [EVERYTHING, EVERYTHING.__replace__(keep="best"), RISING, RISING.__replace__(keep="last", early_stopping_epochs=1)],
    ids=["average, last", "average, best", "best", "stopped early, last"],
)
def test_a_training_that_was_over_when_it_was_killed_runs_no_epoch_more(spec: TrainSpec, tmp_path: Path) -> None:
    films, once, again, epochs = few_negatives(), module(spec), module(spec), Epochs()
    result = fit(once, films, films, tmp_path)
    assert fit(again, films, films, tmp_path, [epochs]) == result
    assert epochs.ran == []
    assert weights_of(again.network) == weights_of(once.network)


@pytest.mark.parametrize("epoch", [2, 4])
def test_a_killed_training_goes_on_behind_its_last_epoch_and_knows_the_best_before(epoch: int, tmp_path: Path) -> None:
    films, once, resumed, epochs = bright_and_dark(24), module(RISING), module(RISING), Epochs()
    result = fit(once, films, films, tmp_path / "once")
    assert result.best_epoch < 4  # so that the last epoch is not the best
    killed(RISING, films, tmp_path / "killed", epoch, batch=1)
    assert fit(resumed, films, films, tmp_path / "killed", [epochs]) == result
    assert epochs.ran == list(range(epoch, 5))
    assert read_history(tmp_path / "killed") == read_history(tmp_path / "once")
    assert weights_of(resumed.network) == weights_of(once.network)


def test_forgotten_progress_begins_anew(tmp_path: Path) -> None:
    films, epochs = bright_and_dark(16), Epochs()
    spec = RISING.__replace__(epochs=2)
    killed(spec, films, tmp_path, epoch=2, batch=1)
    forget_progress(tmp_path)
    assert not list(tmp_path.glob("*.ckpt"))
    fit(module(spec), films, films, tmp_path, [epochs])
    assert epochs.ran == [1, 2]


class Averages(Callback):
    """The moving average of one tensor, worked out beside Lightning's."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: Tensor | None = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = next(pl_module.parameters()).detach().clone()
        self.average = now if self.average is None else self.decay * self.average + (1 - self.decay) * now


def test_the_averaged_weights_are_a_moving_average_over_batches(tmp_path: Path) -> None:
    films, classifier, averages = bright_and_dark(24), module(EVERYTHING), Averages(0.9)
    fit(classifier, films, films, tmp_path, [averages])
    kept = next(classifier.network.parameters())
    assert averages.average is not None
    assert torch.allclose(kept, averages.average, atol=1e-6)


class Batches(Callback):
    """Notes the learning rate and the labels of each batch."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.labels: list[Tensor] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.labels.append(batch[1])


def test_copies_of_the_rarer_class_are_seen_and_the_schedule_counts_their_batches(tmp_path: Path) -> None:
    films, classifier, seen = few_negatives(), module(EVERYTHING), Batches()
    fit(classifier, films, films, tmp_path, [seen])
    assert [len(labels) for labels in seen.labels] == [8] * 3 * 4
    assert torch.bincount(torch.cat(seen.labels).long()).tolist() == [12 * 4, 12 * 4]
    assert classifier.weights == (1.0, 1.0)
    assert max(seen.rates) == pytest.approx(3e-3)
    assert seen.rates[-1] < 1e-6


def test_the_history_has_a_row_for_each_epoch_with_the_rate_behind_it(tmp_path: Path) -> None:
    films = bright_and_dark(16)
    fit(module(RISING.__replace__(schedule=ScheduleSpec(name="cosine"))), films, films, tmp_path)
    rows = read_history(tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.05 * (1 + math.cos(math.pi * n / 4)) / 2 for n in (1, 2, 3, 4)])
    assert all(0 <= row["holdout_auc"] <= 1 and row["train_loss"] > 0 for row in rows)


def test_a_network_that_comes_in_evaluation_mode_is_trained_with_dropout_and_batch_norms(tmp_path: Path) -> None:
    films, classifier = bright_and_dark(16), module(RISING.__replace__(epochs=1))
    classifier.network.eval()
    modes = set()
    for layer in classifier.network.modules():
        if isinstance(layer, nn.Dropout | nn.BatchNorm2d):
            layer.register_forward_hook(lambda layer, _given, _output: modes.add((type(layer), layer.training, torch.is_grad_enabled())))
    fit(classifier, films, films, tmp_path)
    kinds = (QuickDropout, nn.BatchNorm2d)
    assert modes == {(kind, mode, mode) for kind in kinds for mode in (True, False)}


def test_class_weights_are_those_of_the_train_films(tmp_path: Path) -> None:
    films, classifier = few_negatives(), module(RISING.__replace__(epochs=1, balance="class_weights"))
    fit(classifier, films, bright_and_dark(8), tmp_path)
    assert classifier.weights == (18 / 12, 18 / 24)


def test_a_loss_that_is_no_number_stops_with_the_epoch(tmp_path: Path) -> None:
    films = bright_and_dark(16)
    classifier = module(TrainSpec(model="szanet", epochs=2, batch_size=8, learning_rate=1e-3))
    next(classifier.network.parameters()).data.fill_(float("nan"))
    with pytest.raises(TrainingError) as caught:
        fit(classifier, films, films, tmp_path)
    assert str(caught.value) == ("The loss of epoch 1, batch 1 is nan: lower train.learning_rate (now 0.001) and train anew (--redo).")
    assert caught.value.epoch == 0


@pytest.mark.parametrize(("epoch", "good", "keep", "patience"), [(1, 0, "last", 5), (3, 1, "best", 5), (3, 1, "last", None)])
def test_weights_that_break_at_the_end_of_an_epoch_stop_with_the_best_before(
    epoch: int, good: int, keep: Literal["best", "last"], patience: int | None, tmp_path: Path
) -> None:
    films, epochs = bright_and_dark(24), Epochs()
    classifier = module(RISING.__replace__(keep=keep, early_stopping_epochs=patience))
    with pytest.raises(TrainingError, match=rf"After epoch {epoch} the logits of held-out films are no numbers: lower") as caught:
        fit(classifier, films, films, tmp_path, [Poison(epoch), epochs])
    assert caught.value.epoch == good
    if good:
        assert weights_of(classifier.network) == epochs.weights[good - 1]


MEMORY = {
    "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    "cpu": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    ),
    "python": MemoryError(),
}


def failing(error: BaseException) -> Callable[[Tensor], Tensor]:
    def forward(_: Tensor) -> Tensor:
        raise error

    return forward


@pytest.mark.parametrize("kind", MEMORY)
@pytest.mark.parametrize(("batch_size", "hint"), [(8, "try --set train.batch_size=4"), (3, "make preprocessing.size_px smaller")])
def test_a_memory_that_does_not_suffice_names_the_batch_to_try(
    kind: str, batch_size: int, hint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    films, classifier = bright_and_dark(16), module(RISING.__replace__(batch_size=batch_size))
    monkeypatch.setattr(classifier.network, "forward", failing(MEMORY[kind]))
    with pytest.raises(TrainingError) as caught:
        fit(classifier, films, films, tmp_path)
    assert str(caught.value) == f"The memory does not suffice for batches of {batch_size} films: {hint}."
    assert caught.value.__cause__ is MEMORY[kind]


def test_another_error_of_torch_passes_unchanged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    classifier, error = module(RISING), RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    monkeypatch.setattr(classifier.network, "forward", failing(error))
    with pytest.raises(RuntimeError, match="mat1 and mat2") as caught:
        fit(classifier, bright_and_dark(16), bright_and_dark(16), tmp_path)
    assert caught.value is error


def test_torchs_switches_are_as_before(tmp_path: Path) -> None:
    deterministic: Any = torch.utils.deterministic
    before = (torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory)
    films = bright_and_dark(8)
    fit(module(RISING.__replace__(epochs=1)), films, films, tmp_path)
    assert (torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory) == before


def test_the_network_sees_three_equal_scaled_channels() -> None:
    batch = to_network(torch.full((2, 1, 4, 4), 51.0), Preprocessing(size_px=32))
    assert batch.shape == (2, 3, 4, 4)
    assert torch.allclose(batch, torch.tensor(0.2))


def test_dropout_is_multiplied_while_training_and_never_reaches_one(tmp_path: Path) -> None:
    class Rates(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            self.seen = [layer.p for layer in pl_module.modules() if isinstance(layer, nn.Dropout)]

    own = [0.2, 0.2, 0.4, 0.5]
    for factor, expected in ((0.5, [0.1, 0.1, 0.2, 0.25]), (2.0, [0.4, 0.4, 0.8, 0.9])):
        watch, trained = Rates(), module(TrainSpec(model="szanet", epochs=1, dropout_factor=factor))
        fit(trained, bright_and_dark(32), bright_and_dark(8), tmp_path / str(factor), [watch])
        assert watch.seen == pytest.approx(expected)
        assert [layer.p for layer in trained.modules() if isinstance(layer, nn.Dropout)] == own
