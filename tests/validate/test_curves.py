"""Curves against scikit-learn and a table by hand; pictures of features that keep what is near near."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score, roc_curve

from toolkit.core.metrics import Curves, roc_auc
from toolkit.errors import MissingDependencyError
from toolkit.validate.curves import MIN_FILMS, curves, embed

# Four films, from the highest score down: sick, well, sick, well.
LABELS, SCORES = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])


def test_the_roc_curve_by_hand() -> None:
    # nobody called; the first sick; the first well too; both sick; all
    assert curves(LABELS, SCORES).roc.tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]


def test_precision_against_recall_by_hand() -> None:
    found = curves(LABELS, SCORES)
    assert found.precision_recall.tolist() == [[1, 0.5], [1, pytest.approx(2 / 3)], [0.5, 0.5], [0.5, 1], [0, 1]]
    assert found.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@pytest.mark.parametrize(("levels", "seed"), [(3, 0), (10**6, 1), (10**6, 2)])
def test_curves_agree_with_scikit_learn_with_and_without_ties(levels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 150)
    scores = random.integers(0, levels, 150) / levels + 0.3 * labels
    found = curves(labels, scores.astype(np.float32))
    expected = np.stack(roc_curve(labels, scores.astype(np.float32))[:2], 1)
    assert np.array_equal(found.roc, expected)
    assert found.average_precision == pytest.approx(average_precision_score(labels, scores.astype(np.float32)))
    assert np.trapezoid(*found.roc.T[::-1]) == pytest.approx(roc_auc_score(labels, scores))
    assert np.trapezoid(*found.roc.T[::-1]) == pytest.approx(roc_auc(labels, scores))


def test_each_point_of_precision_and_recall_is_that_of_a_threshold() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 40)
    scores = random.random(40)
    points = {(round(recall, 9), round(precision, 9)) for recall, precision in curves(labels, scores).precision_recall}
    by_threshold = {
        (round(recall_score(labels, scores >= cut), 9), round(precision_score(labels, scores >= cut), 9)) for cut in np.unique(scores)
    }
    assert points == {*by_threshold, (0, 1)}


def test_curves_do_not_change() -> None:
    found = curves(LABELS, SCORES)
    assert isinstance(found, Curves)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.average_precision = 1.0  # type: ignore[misc]


def test_the_first_components_are_those_of_the_scaled_features() -> None:
    values = np.random.default_rng(0).normal(size=(30, 6)) @ np.diag([1, 10, 100, 1, 1, 1])
    level = (values - values.mean(0)) / values.std(0)
    left, spread, _ = np.linalg.svd(level, full_matrices=False)
    assert np.abs(embed(values)["PCA"]) == pytest.approx(np.abs(left[:, :2] * spread[:2]))  # the sign is free


def test_films_that_are_alike_lie_together() -> None:
    random = np.random.default_rng(1)
    values = np.concatenate([random.normal(0, 1, (20, 8)), random.normal(30, 1, (20, 8))])
    for name, places in embed(values).items():
        first, second = places[:20], places[20:]
        between = np.linalg.norm(first.mean(0) - second.mean(0))
        within = max(np.linalg.norm(part - part.mean(0), axis=1).max() for part in (first, second))
        assert between > 2 * within, name


def test_equal_features_are_drawn_equally() -> None:
    values = np.random.default_rng(2).normal(size=(12, 4))
    first, second = embed(values), embed(values.copy())
    assert list(first) == list(second) == ["PCA", "t-SNE"]
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("shape", [(MIN_FILMS, 3), (MIN_FILMS, 1), (MIN_FILMS, 200), (8, 1)])
def test_few_films_and_few_features_are_drawn_too(shape: tuple[int, int]) -> None:
    for places in embed(np.random.default_rng(3).normal(size=shape)).values():
        assert places.shape == (shape[0], 2)
        assert np.isfinite(places).all()


def test_a_network_that_sees_no_difference_puts_all_films_in_one_place() -> None:
    assert {name: np.ptp(places, axis=0).tolist() for name, places in embed(np.full((7, 4), 0.3)).items()} == {
        "PCA": [0, 0],
        "t-SNE": [0, 0],
    }


@pytest.mark.parametrize(("draw", "purpose"), [("curves", "Drawing curves"), ("embed", "Drawing features")])
def test_without_scikit_learn_the_package_is_named(draw: str, purpose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("metrics", "decomposition", "manifold", "preprocessing"):
        monkeypatch.setitem(sys.modules, f"sklearn.{part}", None)
    with pytest.raises(MissingDependencyError, match=rf"{purpose} needs the package 'scikit-learn'.*pip install 'cxr-edge\[workshop\]'"):
        curves(LABELS, SCORES) if draw == "curves" else embed(np.eye(6))
