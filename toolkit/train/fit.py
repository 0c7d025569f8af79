"""The loop: Lightning trains, keeps the best epoch on held-out patients, and resumes at any epoch."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from toolkit.core.files import write_atomically
from toolkit.core.recipe import TrainSpec
from toolkit.data.films import Films
from toolkit.data.loader import batches
from toolkit.train.balance import class_weights
from toolkit.train.module import Classifier

HISTORY = "history.csv"
COLUMNS = ("epoch", "train_loss", "holdout_loss", "holdout_auc", "learning_rate")
EVALUATION_BATCH = 64


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
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        write_atomically(self.path, text.getvalue())

    def state_dict(self) -> dict[str, Any]:
        """The rows."""
        return {"rows": list(self.rows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The rows of the run that was interrupted."""
        self.rows = list(state_dict["rows"])


class StderrBar(TQDMProgressBar):
    """Lightning's bar of an epoch, on standard error: standard output belongs to results."""

    def init_train_tqdm(self) -> Tqdm:
        """The bar of the train films."""
        return Tqdm(desc="train", file=sys.stderr, leave=False, dynamic_ncols=True, bar_format=self.BAR_FORMAT)

    def init_validation_tqdm(self) -> Tqdm:
        """None for the held-out films: they take a moment."""
        return Tqdm(disable=True)


def fit(module: Classifier, train: Films, holdout: Films, folder: Path) -> FitResult:
    """Train `module` in place; afterwards it holds the weights of the epoch with the least held-out loss.

    `folder` receives `history.csv` and, while training, `last.ckpt` and `best.ckpt`; where `last.ckpt` lies there already,
    training goes on behind its epoch and ends with the same weights as an undisturbed run.
    """
    spec: TrainSpec = module.spec
    if spec.class_weights == "balanced":
        module.weights = class_weights(train.labels)
    best = ModelCheckpoint(
        folder, "best", monitor="holdout_loss", save_last=True, save_on_train_epoch_end=True, enable_version_counter=False
    )
    stop = EarlyStopping("holdout_loss", patience=spec.early_stopping_epochs, check_on_train_epoch_end=True)
    callbacks: list[Callback] = [stop, History(folder), best]
    with _quiet_lightning(), _deterministic():
        trainer = _trainer(spec, folder, callbacks)
        last = folder / "last.ckpt"
        trainer.fit(
            module,
            batches(train, spec.batch_size, module.seed),
            batches(holdout, EVALUATION_BATCH),
            ckpt_path=last if last.is_file() else None,
            weights_only=True,
        )
    kept = torch.load(best.best_model_path, weights_only=True, map_location="cpu")
    module.load_state_dict(kept["state_dict"])
    return FitResult(epochs=trainer.current_epoch, best_epoch=int(kept["epoch"]) + 1)


def forget_progress(folder: Path) -> None:
    """Remove the two files that only a resumed training needs."""
    for name in ("last.ckpt", "best.ckpt"):
        (folder / name).unlink(missing_ok=True)


def _trainer(spec: TrainSpec, folder: Path, callbacks: list[Callback]) -> lightning.Trainer:
    shown = sys.stderr.isatty()
    return lightning.Trainer(
        max_epochs=spec.epochs,
        precision="bf16-mixed" if spec.precision == "bf16" else "32-true",
        callbacks=[*callbacks, StderrBar()] if shown else callbacks,
        default_root_dir=folder,
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=shown,
        enable_model_summary=False,
    )


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


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
