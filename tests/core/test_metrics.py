"""Every metric against hand arithmetic or scikit-learn; none without support."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from toolkit.core.metrics import NO_CALLS, NO_NEGATIVES, NO_POSITIVES, ONE_CLASS, Confusion, placements, recall_at, roc_auc

BY_HAND = Confusion(tp=8, fp=1, tn=3, fn=2)


def test_the_table_counts_each_film_once() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0, 0])
    called = np.array([True, True, False, True, False, False, False])
    table = Confusion.of(labels, called)
    assert table == Confusion(tp=2, fn=1, fp=1, tn=3)
    assert (table.n, table.positives, table.negatives) == (7, 3, 4)


def test_rates_by_hand() -> None:
    rates, why = BY_HAND.rates()
    assert rates == pytest.approx(
        {
            "accuracy": 11 / 14,
            "recall": 0.8,
            "specificity": 0.75,
            "precision": 8 / 9,
            "f1": 16 / 19,
            "balanced_accuracy": 0.775,
        }
    )
    assert why == {}


@pytest.mark.parametrize("seed", range(4))
def test_rates_agree_with_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels, called = random.integers(0, 2, 60), random.random(60) < 0.4
    rates, _ = Confusion.of(labels, called).rates()
    assert rates["recall"] == pytest.approx(recall_score(labels, called))
    assert rates["specificity"] == pytest.approx(recall_score(labels, called, pos_label=0))
    assert rates["precision"] == pytest.approx(precision_score(labels, called))
    assert rates["f1"] == pytest.approx(f1_score(labels, called))
    assert rates["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, called))


@pytest.mark.parametrize(
    ("table", "reasons"),
    [
        (Confusion(tp=0, fp=1, tn=4, fn=0), {"recall": NO_POSITIVES, "balanced_accuracy": ONE_CLASS}),
        (Confusion(tp=3, fp=0, tn=0, fn=1), {"specificity": NO_NEGATIVES, "balanced_accuracy": ONE_CLASS}),
        (Confusion(tp=0, fp=0, tn=4, fn=2), {"precision": NO_CALLS}),
        (
            Confusion(tp=0, fp=0, tn=4, fn=0),
            {"recall": NO_POSITIVES, "precision": NO_CALLS, "f1": f"{NO_POSITIVES} and {NO_CALLS}", "balanced_accuracy": ONE_CLASS},
        ),
    ],
)
def test_a_rate_without_support_is_none_with_its_reason(table: Confusion, reasons: dict[str, str]) -> None:
    rates, why = table.rates()
    assert why == reasons
    assert {name for name, value in rates.items() if value is None} == set(reasons)


def test_without_films_no_rate_is_a_number() -> None:
    rates, why = Confusion(tp=0, fp=0, tn=0, fn=0).rates()
    assert set(rates.values()) == {None}
    assert set(why) == set(rates)
    assert why["accuracy"] == "there is no film"


def test_a_rate_of_zero_is_a_number() -> None:
    rates, why = Confusion(tp=0, fp=2, tn=0, fn=3).rates()
    assert set(rates.values()) == {0.0}
    assert why == {}


def test_area_by_hand() -> None:
    # pairs (positive, negative): 3>1, 3>2, 2>1 count one, 2=2 counts half
    assert roc_auc(np.array([1, 1, 0, 0]), np.array([3.0, 2.0, 1.0, 2.0])) == pytest.approx(3.5 / 4)


@pytest.mark.parametrize(("levels", "seed"), [(1, 0), (2, 1), (3, 2), (10, 3), (10**6, 4), (10**6, 5)])
def test_area_agrees_with_scikit_learn_with_and_without_ties(levels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 200)
    scores = random.integers(0, levels, 200) / levels + 0.2 * labels * (levels > 1)
    assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []])
def test_area_of_one_class_is_none(labels: list[int]) -> None:
    scores = np.arange(len(labels), dtype=float)
    assert roc_auc(np.array(labels, np.int64), scores) is None
    assert placements(np.array(labels, np.int64), scores) is None


def test_recall_at_a_specificity_by_hand() -> None:
    labels, scores = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0.1, 0.2, 0.3, 0.6, 0.25, 0.5, 0.7, 0.6])
    assert recall_at(labels, scores, 1.0) == 0.25  # above .6, and a tie with a negative does not count
    assert recall_at(labels, scores, 0.75) == 0.75  # above .3
    assert recall_at(labels, scores, 0.74) == 0.75
    assert recall_at(labels, scores, 0.5) == 1.0
    assert recall_at(labels, scores, 0.0) == 1.0


def test_placements_by_hand() -> None:
    found = placements(np.array([1, 1, 0, 0]), np.array([3.0, 2.0, 1.0, 2.0]))
    assert found is not None
    assert found[0].tolist() == [0.75, 1.0]  # of the positives 2 and 3
    assert found[1].tolist() == [1.0, 0.75]  # of the negatives 1 and 2
