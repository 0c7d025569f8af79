"""The loop: Lightning trains, keeps the best epoch on held-out patients, and resumes at any epoch."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from torch import nn

from toolkit.core import ranks
from toolkit.core.files import write_atomically
from toolkit.core.recipe import TrainSpec
from toolkit.data.films import Films
from toolkit.data.loader import batches
from toolkit.errors import TrainingError
from toolkit.train.balance import class_weights, copies
from toolkit.train.group import wait
from toolkit.train.module import Classifier
from toolkit.train.optimizer import MONITORED
from toolkit.train.speed import (
    calculates_in_bf16,
    keep_freed_memory,
    pooled_before_relu,
    quick_dropout,
    strided_depthwise_in_single_precision,
)

HISTORY = "history.csv"
COLUMNS = ("epoch", "train_loss", "holdout_loss", "holdout_auc", "learning_rate")
EVALUATION_BATCH = 64
MAX_DROPOUT = 0.9


@dataclass(frozen=True)
class FitResult:
    """Epochs that were run, and the one (from 1) whose weights were kept."""

    epochs: int
    best_epoch: int


class History(Callback):
    """Writes `history.csv` after each epoch; its rows travel in the checkpoint, so a resumed run repeats none."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / HISTORY
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """One row more."""
        seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.rows.append({"epoch": trainer.current_epoch + 1, **{key: seen[key] for key in COLUMNS[1:4]}, "learning_rate": rate})
        if trainer.is_global_zero:
            write_history(self.path, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """The rows."""
        return {"rows": list(self.rows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The rows of the run that was interrupted."""
        self.rows = list(state_dict["rows"])


class Patience(EarlyStopping):
    """Stays stopped when a training that was over is resumed."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """No epoch more."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class StderrBar(TQDMProgressBar):
    """Lightning's bar of an epoch, on standard error: standard output belongs to results."""

    def init_train_tqdm(self) -> Tqdm:
        """The bar of the train films."""
        return Tqdm(desc="train", file=sys.stderr, leave=False, dynamic_ncols=True, bar_format=self.BAR_FORMAT)

    def init_validation_tqdm(self) -> Tqdm:
        """None for the held-out films: they take a moment."""
        return Tqdm(disable=True)


def fit(module: Classifier, train: Films, holdout: Films, folder: Path, watchers: Sequence[Callback] = ()) -> FitResult:
    """Train `module` in place; afterwards it holds the weights of the epoch with the least held-out loss, or of the last one.

    `folder` receives `history.csv` and, while training, `last.ckpt` and `best.ckpt`; where `last.ckpt` lies there already,
    training goes on behind its epoch and ends with the same weights as an undisturbed run. `watchers` look on.
    Raises TrainingError for a loss that is no number (`module` then holds the best epoch so far, and the error's `epoch` names it,
    0 for none) and when the memory does not suffice.
    """
    spec: TrainSpec = module.spec
    if spec.balance == "class_weights":
        module.weights = class_weights(train.labels)
    again = copies(train.labels, spec.oversample.ratio, module.seed) if spec.balance == "oversample" else None
    best = ModelCheckpoint(folder, "best", monitor=MONITORED, save_on_train_epoch_end=True, enable_version_counter=False)
    last = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)  # behind best: it keeps its state
    progress = folder / "last.ckpt"
    keep_freed_memory()
    module.train()  # Lightning leaves the modes as they are
    with contextlib.ExitStack() as during:
        during.enter_context(_quiet_lightning())
        during.enter_context(_deterministic())
        during.enter_context(dropout_times(module.network, spec.dropout_factor))
        during.enter_context(strided_depthwise_in_single_precision(module.network))
        during.enter_context(pooled_before_relu(module.network))
        during.enter_context(quick_dropout(module.network))
        during.enter_context(_memory_errors_named(spec))
        trainer = _trainer(spec, folder, [*_callbacks(spec, folder), best, last, *watchers])
        try:
            trainer.fit(
                module,
                batches(train, spec.batch_size, module.seed, again),
                batches(holdout, EVALUATION_BATCH),
                ckpt_path=progress if progress.is_file() else None,
                weights_only=True,
            )
        except TrainingError as error:
            error.epoch = _restore(module, best.best_model_path)
            raise
    kept = str(progress) if spec.keep == "last" else best.best_model_path
    found = FitResult(epochs=trainer.current_epoch, best_epoch=_restore(module, kept))
    wait()  # until all have read it
    return found


def _restore(module: Classifier, path: str) -> int:
    """Fill `module` from a file of Lightning's and give its epoch (from 1); 0 where there is none."""
    if not path:
        return 0
    kept = torch.load(path, weights_only=True, map_location="cpu")
    module.load_state_dict(kept["state_dict"])
    return int(kept["epoch"]) + 1


def _callbacks(spec: TrainSpec, folder: Path) -> list[Callback]:
    """In this order: the averaged weights are in place when the others look."""
    wanted: list[Callback] = [EMAWeightAveraging(decay=spec.average)] if spec.average else []
    if spec.early_stopping_epochs is not None:
        wanted.append(Patience(MONITORED, patience=spec.early_stopping_epochs, check_on_train_epoch_end=True))
    return [*wanted, History(folder)]


def read_history(folder: Path) -> tuple[dict[str, float], ...]:
    """The rows of `history.csv`."""
    with (folder / HISTORY).open(encoding="ascii") as stream:
        return tuple({key: float(value) for key, value in row.items()} for row in csv.DictReader(stream))


def write_history(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """`history.csv`, a row for each epoch."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_atomically(path, text.getvalue())


def forget_progress(folder: Path) -> None:
    """Remove the two files that only a resumed training needs."""
    for name in ("last.ckpt", "best.ckpt"):
        (folder / name).unlink(missing_ok=True)


def _trainer(spec: TrainSpec, folder: Path, callbacks: list[Callback]) -> lightning.Trainer:
    shown = sys.stderr.isatty() and ranks.is_first()
    return lightning.Trainer(
        max_epochs=spec.epochs,
        **_processes(),
        precision="bf16-mixed" if spec.precision == "bf16" or (spec.precision == "auto" and calculates_in_bf16()) else "32-true",
        callbacks=[*callbacks, StderrBar()] if shown else callbacks,
        default_root_dir=folder,
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=shown,
        enable_model_summary=False,
    )


def _processes() -> dict[str, Any]:
    """Those that torchrun started; the loader has parted the batches already."""
    if ranks.count() == 1:
        return {}
    machines = ranks.count() // ranks.local_count()
    return {"strategy": "ddp", "devices": ranks.local_count(), "num_nodes": machines, "use_distributed_sampler": False}


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Equal runs give equal weights. torch would also fill every new tensor with NaN, which finds faults and costs time."""
    deterministic: Any = torch.utils.deterministic
    before, filled = torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        deterministic.fill_uninitialized_memory = filled


@contextlib.contextmanager
def dropout_times(network: nn.Module, factor: float) -> Iterator[None]:
    """Within it, each dropout rate of `network` is multiplied by `factor`, to MAX_DROPOUT at most."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Dropout)]
    rates = [layer.p for layer in layers]
    for layer in layers:
        layer.p = min(layer.p * factor, MAX_DROPOUT)
    try:
        yield
    finally:
        for layer, rate in zip(layers, rates, strict=True):
            layer.p = rate


@contextlib.contextmanager
def _memory_errors_named(spec: TrainSpec) -> Iterator[None]:
    """A GPU says OutOfMemoryError, the CPU's allocator a RuntimeError, Python MemoryError."""
    try:
        yield
    except (RuntimeError, MemoryError) as cause:
        if not isinstance(cause, torch.OutOfMemoryError | MemoryError) and "can't allocate memory" not in str(cause):
            raise
        smaller = spec.batch_size // 2
        hint = f"try --set train.batch_size={smaller}" if smaller >= 2 else "make preprocessing.size_px smaller"
        raise TrainingError(f"The memory does not suffice for batches of {spec.batch_size} films: {hint}.") from cause


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """No advertisements and no advice on worker counts: the films are in memory already."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pytorch_lightning.*|torch.*")
            yield
    finally:
        logger.setLevel(level)
