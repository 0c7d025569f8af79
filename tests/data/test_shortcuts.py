"""Trivial statistics by hand, and how they speak against labels that do not fit them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import FunctionTransformer

from toolkit.data import shortcuts
from toolkit.data.cases import Case
from toolkit.data.films import Films
from toolkit.data.shortcuts import contradiction, statistics
from toolkit.errors import DataError

EDGE = 16  # so that a border is one pixel wide


def test_statistics_of_a_bright_top_row_by_hand() -> None:
    image = np.zeros((1, 1, EDGE, EDGE), np.uint8)
    image[0, 0, 0] = 160  # 16 of 256 pixels
    tones = [0, 0, 0, 0, 160]  # percentiles 1, 10, 50, 90, 99
    mean, spread = 10, np.sqrt(160**2 / 16 - 10**2)
    borders = [160, 0, 10, 10]  # top, bottom, left, right
    corners = [160, 160, 0, 0]
    sharpness = [160 / 15, 0, 80 / 7, 0]  # one of 15 steps down; at half size the row is 80, one of 7 steps
    assert statistics(image).tolist() == [pytest.approx([*tones, mean, spread, *borders, *corners, *sharpness])]


def test_statistics_of_a_bright_lower_right_corner_by_hand() -> None:
    image = np.full((1, 1, EDGE, EDGE), 40, np.uint8)
    image[0, 0, -1, -1] = 200
    mean = 40 + 160 / 256
    spread = np.sqrt((255 * (40 - mean) ** 2 + (200 - mean) ** 2) / 256)
    borders = [40, 50, 40, 50]
    corners = [40, 40, 40, 200]
    sharpness = [160 / 240, 160 / 240, 40 / 56, 40 / 56]  # of 15 x 16 steps; at half size the corner is 80, of 7 x 8
    expected = [40, 40, 40, 40, 40, mean, spread, *borders, *corners, *sharpness]
    assert statistics(image).tolist() == [pytest.approx(expected)]


@pytest.mark.parametrize("edge", [16, 17, 33, 224])
def test_each_film_has_its_row_whatever_its_size(edge: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 1, edge, edge), np.uint8)
    found = statistics(images)
    assert found.shape == (3, 19)
    assert np.array_equal(statistics(images[1:2])[0], found[1])
    assert found[:, 5] == pytest.approx(images.mean((1, 2, 3)))
    assert np.array_equal(statistics(images.swapaxes(2, 3))[:, [15, 16]], found[:, [16, 15]])


def films(levels: list[int], labels: list[int], patients: list[str] | None = None, contents: list[str] | None = None) -> Films:
    """Noisy films of these mean levels, 32 pixels wide."""
    noise = np.random.default_rng(1).integers(-20, 21, (len(levels), 1, 32, 32))
    images = (np.array(levels)[:, None, None, None] + noise).astype(np.uint8)
    patients, contents = patients or [str(row) for row in range(len(levels))], contents or [f"film {row}" for row in range(len(levels))]
    cases = tuple(
        Case(f"train/{row}", "train", label, patient, "list", content)
        for row, (label, patient, content) in enumerate(zip(labels, patients, contents, strict=True))
    )
    return Films(images, np.array(labels, np.int64), cases)


def test_a_film_that_looks_like_the_other_class_contradicts_most() -> None:
    random = np.random.default_rng(2)
    labels = [row % 2 for row in range(40)]
    levels = [int(random.normal(80 + 90 * label, 12)) for label in labels]
    levels[6], levels[7] = 170, 80  # a negative as bright as positives are, and the reverse
    found = contradiction(films(levels, labels), seed=0)
    assert found.shape == (40,)
    assert set(np.argsort(found)[-2:].tolist()) == {6, 7}
    assert found[[6, 7]].min() > 0.9
    assert np.delete(found, [6, 7]).max() < 0.5
    assert (found >= 0).all()


def test_without_a_short_cut_nothing_is_known() -> None:
    labels = [row % 2 for row in range(200)]
    found = contradiction(films([120] * 200, labels), seed=0)
    assert np.median(found) == pytest.approx(0.5, abs=0.1)  # as likely as not, for a film that the model has not seen


def test_equal_seeds_judge_equally_and_another_seed_forms_other_folds() -> None:
    labels = [row % 2 for row in range(40)]
    known = films([80 + 10 * label + row for row, label in enumerate(labels)], labels)
    assert np.array_equal(contradiction(known, seed=0), contradiction(known, seed=0))
    assert not np.array_equal(contradiction(known, seed=0), contradiction(known, seed=1))


class Remembering(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """In place of the model: refuses to judge whom it has seen. Its one statistic is the number of the patient's family."""

    judged: list[float]

    def __init__(self, **_options: Any) -> None:
        pass

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {}

    def fit(self, rows: NDArray[np.float64], labels: NDArray[np.int64]) -> Self:
        self.classes_ = np.unique(labels)
        self.seen_ = set(rows.ravel().tolist())
        return self

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.int64]:
        raise NotImplementedError

    def predict_proba(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        asked = rows.ravel().tolist()
        assert not self.seen_ & set(asked)
        Remembering.judged += asked
        return np.tile([0.25, 0.75], (len(rows), 1))


def test_nobody_is_judged_by_a_model_that_saw_him_or_who_shares_a_film_with_him(monkeypatch: pytest.MonkeyPatch) -> None:
    families = [float(row // 4) for row in range(80)]  # four films each: of two patients, one film of the first is one of the second
    patients = [f"{row // 4}-{row // 2 % 2}" for row in range(80)]
    contents = [f"shared {row // 4}" if row % 4 in (1, 2) else f"film {row}" for row in range(80)]
    known = films([100] * 80, [row // 4 % 2 for row in range(80)], patients, contents)
    Remembering.judged = []
    monkeypatch.setattr("sklearn.linear_model.LogisticRegression", Remembering)
    monkeypatch.setattr("sklearn.preprocessing.StandardScaler", FunctionTransformer)  # leaves the statistic as it is
    monkeypatch.setattr(shortcuts, "statistics", lambda images: np.array(families)[:, None])
    found = contradiction(known, seed=0)
    assert sorted(Remembering.judged) == sorted(families)  # each film once
    assert found.tolist() == [0.75 if label == 0 else 0.25 for label in known.labels]  # 1 - probability of the truth


@pytest.mark.parametrize("patients", [[str(row % 8) for row in range(40)], [str(row % 2) for row in range(40)]])
def test_too_few_patients_are_refused(patients: list[str]) -> None:
    with pytest.raises(DataError, match="data.holdout_rule 'conflict' needs 5 patients of each class in train; choose another rule"):
        contradiction(films([100] * 40, [row % 2 for row in range(40)], patients), seed=0)
