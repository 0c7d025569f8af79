"""Cross-validation: as many trainings as folds, each judged on patients that it did not see."""

from __future__ import annotations

import logging
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from numpy.typing import NDArray

from toolkit.core.codec import encode_json, read_json
from toolkit.core.evaluation import CrossValidation, Fold, Spread
from toolkit.core.files import write_atomically
from toolkit.core.metrics import Confusion, roc_auc
from toolkit.core.recipe import TrainSpec
from toolkit.data.duplicates import patient_families
from toolkit.data.films import Films
from toolkit.errors import DataError, MissingDependencyError, StageError
from toolkit.train.fit import fit, forget_progress
from toolkit.train.module import Classifier
from toolkit.train.run import Task, fresh_network
from toolkit.train.score import score
from toolkit.train.teacher import teacher_of

LOG = logging.getLogger(__name__)
FOLDS = "folds.json"
METRICS = ("accuracy", "recall", "specificity", "roc_auc")


def cross_validate(spec: TrainSpec, task: Task, folder: Path) -> CrossValidation:
    """Train `spec.folds` networks on the train and held-out films together, each without one fold of patients, and leave `folds.json`.

    Folds keep the share of classes; a patient, and all who share a copy of a film with him, is in one fold. Calls are made at a
    probability of .5. A finished fold is not trained again.
    """
    if spec.folds is None:
        raise AssertionError("called for a recipe that asks for folds")
    films = _together(task.train, task.holdout)
    done = []
    for number, held in enumerate(patient_folds(films, spec.folds, task.seed), 1):
        place = folder / f"fold-{number}"
        file = place / "fold.json"
        if not file.is_file():
            write_atomically(file, encode_json(_one_fold(spec, task, films, held, place)))
            forget_progress(place)
        done.append(read_json(file, Fold, StageError))
        LOG.info("fold %d of %d: held-out AUC %s", number, spec.folds, done[-1].roc_auc)
    spreads = {name: _spread([getattr(fold, name) for fold in done]) for name in METRICS}
    result = CrossValidation(folds=tuple(done), **spreads)
    write_atomically(folder / FOLDS, encode_json(result))
    return result


def patient_folds(films: Films, count: int, seed: int) -> list[NDArray[np.int64]]:
    """Rows of each fold; raises DataError when there are not enough patients of each class."""
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError as cause:
        raise MissingDependencyError("scikit-learn", "workshop", "Cross-validation") from cause
    family = patient_families(films.cases)
    groups = [family[case.patient] for case in films.cases]
    for label in (0, 1):
        patients = len({group for group, own in zip(groups, films.labels, strict=True) if own == label})
        if patients < count:
            raise DataError(f"train.folds is {count}, but only {patients} patients have label {label}; lower train.folds.")
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return [np.sort(held) for _, held in splitter.split(films.labels, films.labels, groups)]


def _one_fold(spec: TrainSpec, task: Task, films: Films, held: NDArray[np.int64], folder: Path) -> Fold:
    train, holdout = films.take(np.setdiff1d(np.arange(len(films)), held)), films.take(held)
    torch.manual_seed(task.seed)
    network = fresh_network(spec, task.preprocessing)
    module = Classifier(network, spec, task.preprocessing, task.seed)
    module.teacher = teacher_of(spec, task.preprocessing)
    result = fit(module, train, holdout, folder)
    logits = score(network, holdout.images, task.preprocessing)
    rates, _ = Confusion.of(holdout.labels, logits > 0).rates()
    return Fold(
        films=len(holdout),
        best_epoch=result.best_epoch,
        roc_auc=roc_auc(holdout.labels, logits),
        **{name: rates[name] for name in METRICS[:3]},
    )


def _together(train: Films, holdout: Films) -> Films:
    return Films(
        np.concatenate([train.images, holdout.images]),
        np.concatenate([train.labels, holdout.labels]),
        train.cases + holdout.cases,
    )


def _spread(values: list[float | None]) -> Spread:
    """Mean and standard deviation over the folds that have a value."""
    known = [value for value in values if value is not None]
    return Spread(mean=fmean(known), deviation=stdev(known) if len(known) > 1 else 0.0)
