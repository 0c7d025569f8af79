"""Cross-validation: folds by patient, each film judged once, figures by hand, finished folds kept."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from tests.train.test_fit import PREPROCESSING, RISING
from toolkit.core.artifacts import Provenance
from toolkit.core.codec import encode_json, read_json
from toolkit.core.evaluation import CrossValidation, Fold
from toolkit.core.labels import Labels
from toolkit.data.cases import Case
from toolkit.data.films import Films
from toolkit.errors import DataError
from toolkit.train import folds
from toolkit.train.fit import FitResult
from toolkit.train.folds import cross_validate, patient_folds
from toolkit.train.run import Task

SPEC = RISING.__replace__(epochs=1, learning_rate=1e-3, folds=3)


def films(patients: int, first: int = 0) -> Films:
    """One to three films of each patient; every second patient is positive, and brighter."""
    owners = [n for n in range(first, first + patients) for _ in range(1 + n % 3)]
    labels = np.array([n % 2 for n in owners])
    random = np.random.default_rng(first)
    images = random.integers(0, 150, (len(owners), 1, 32, 32)) + 40 * labels[:, None, None, None]
    cases = tuple(Case(f"{row}-{n}", "train", n % 2, f"p{n}", "unknown", f"{first}-{row}") for row, n in enumerate(owners))
    return Films(images.astype(np.uint8), labels.astype(np.int64), cases)


def task() -> Task:
    """Twelve patients to train on, six held out."""
    provenance = Provenance(recipe_sha256="0" * 64, data_sha256="1" * 64)
    return Task(films(12), films(6, first=12), PREPROCESSING, Labels(), 1, provenance)


def owners_of(shown: Films, rows: Any) -> set[str]:
    return {shown.cases[row].patient for row in rows}


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_patient_is_in_one_fold_and_every_film_is_held_out_once(count: int, seed: int) -> None:
    shown = films(30)
    made = patient_folds(shown, count, seed)
    assert len(made) == count
    assert sorted(np.concatenate(made).tolist()) == list(range(len(shown)))
    for held in made:
        rest = set(range(len(shown))) - set(held.tolist())
        assert not owners_of(shown, held) & owners_of(shown, rest)
        assert 0.25 < shown.labels[held].mean() < 0.75


def test_equal_seeds_give_equal_folds() -> None:
    shown = films(30)
    once, again, other = (patient_folds(shown, 3, seed) for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(once, other, strict=True))


def test_patients_who_share_a_copy_of_a_film_are_in_one_fold() -> None:
    shown = films(30)
    first = {case.patient: row for row, case in reversed(list(enumerate(shown.cases)))}
    chain = ["p1", "p11", "p23", "p29"]  # each shares a film with the next
    cases = list(shown.cases)
    for one, other in itertools.pairwise(chain):
        row = first[other] + (1 if other in chain[1:-1] else 0)
        cases[row] = cases[row].__class__(**{**as_dict(cases[row]), "sha256": cases[first[one]].sha256})
    tied = Films(shown.images, shown.labels, tuple(cases))
    for held in patient_folds(tied, 3, seed=2):
        assert len(owners_of(tied, held) & set(chain)) in (0, len(chain))


def as_dict(case: Case) -> dict[str, Any]:
    return {name: getattr(case, name) for name in Case.__slots__}


def test_more_folds_than_patients_of_a_class_are_refused() -> None:
    few = films(9)  # five negative patients, four positive ones
    assert len(patient_folds(few, 4, 0)) == 4
    with pytest.raises(DataError, match=r"train.folds is 5, but only 4 patients have label 1; lower train.folds\.$"):
        patient_folds(few, 5, 0)


Trained = list[tuple[set[str], set[str]]]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Names of the films that each training saw and was judged on."""
    seen: Trained = []
    fit: Callable[..., FitResult] = folds.fit

    def noted(module: Any, train: Films, holdout: Films, folder: Path) -> FitResult:
        seen.append(({case.name for case in train.cases}, {case.name for case in holdout.cases}))
        return fit(module, train, holdout, folder)

    monkeypatch.setattr(folds, "fit", noted)
    return seen


def test_train_and_heldout_films_are_cross_validated_together(trained: Trained, tmp_path: Path) -> None:
    result = cross_validate(SPEC, task(), tmp_path)
    everything = {case.name for case in task().train.cases + task().holdout.cases}
    assert len(trained) == 3
    assert all(seen | held == everything and not seen & held for seen, held in trained)
    assert sum(fold.films for fold in result.folds) == len(everything)
    assert set.union(*(held for _, held in trained)) == everything


def test_finished_folds_are_not_trained_again(trained: Trained, tmp_path: Path) -> None:
    once = cross_validate(SPEC, task(), tmp_path)
    (tmp_path / "fold-2" / "fold.json").unlink()
    (tmp_path / "folds.json").unlink()
    again = cross_validate(SPEC, task(), tmp_path)
    assert len(trained) == 4
    assert trained[3] == trained[1]
    assert again == once == read_json(tmp_path / "folds.json", CrossValidation)


def test_nothing_but_results_is_left(trained: Trained, tmp_path: Path) -> None:
    cross_validate(SPEC.__replace__(folds=2), task(), tmp_path)
    left = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file())
    assert left == ["fold-1/fold.json", "fold-1/history.csv", "fold-2/fold.json", "fold-2/history.csv", "folds.json"]


def test_mean_and_deviation_over_folds_are_hand_arithmetic(trained: Trained, tmp_path: Path) -> None:
    for number, (accuracy, area) in enumerate([(0.8, 0.9), (0.9, None), (0.7, 0.8)], 1):
        fold = Fold(films=4, best_epoch=1, accuracy=accuracy, recall=0.5, specificity=None if number < 3 else 0.25, roc_auc=area)
        place = tmp_path / f"fold-{number}"
        place.mkdir()
        (place / "fold.json").write_bytes(encode_json(fold))
    result = cross_validate(SPEC, task(), tmp_path)
    assert trained == []
    assert (result.accuracy.mean, result.accuracy.deviation) == pytest.approx((0.8, 0.1))
    assert (result.roc_auc.mean, result.roc_auc.deviation) == pytest.approx((0.85, math.sqrt(2 * 0.05**2)))
    assert (result.recall.mean, result.recall.deviation) == (0.5, 0.0)
    assert (result.specificity.mean, result.specificity.deviation) == (0.25, 0.0)


def test_the_figures_of_a_fold_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    judged: list[tuple[Any, Any]] = []
    score = folds.score

    def noted(network: Any, images: Any, preprocessing: Any) -> Any:
        logits = score(network, images, preprocessing)
        judged.append((images, logits))
        return logits

    monkeypatch.setattr(folds, "score", noted)
    result = cross_validate(SPEC.__replace__(folds=2), task(), tmp_path)
    for fold, held, (images, logits) in zip(result.folds, patient_folds(together(), 2, 1), judged, strict=True):
        labels = together().labels[held]
        assert np.array_equal(images, together().images[held])
        called = logits > 0
        assert fold.accuracy == pytest.approx(accuracy_score(labels, called))
        assert fold.recall == pytest.approx(recall_score(labels, called))
        assert fold.specificity == pytest.approx(recall_score(labels, called, pos_label=0))
        assert fold.roc_auc == pytest.approx(roc_auc_score(labels, logits))


def together() -> Films:
    one, other = task().train, task().holdout
    return Films(np.concatenate([one.images, other.images]), np.concatenate([one.labels, other.labels]), one.cases + other.cases)
