"""Class weights against the report's figures; copies of the rarer class counted."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.train.balance import class_weights, copies

KERMANY = np.array([0] * 1341 + [1] * 3875)


def test_weights_of_the_kermany_train_split() -> None:
    assert class_weights(KERMANY) == pytest.approx((1.94, 0.67), abs=0.006)


def test_balanced_labels_weigh_one() -> None:
    assert class_weights(np.array([0, 1, 1, 0])) == (1.0, 1.0)


def test_copies_reach_the_ratio_of_the_report() -> None:
    rows = copies(KERMANY, ratio=1.2, seed=1)
    assert 3875 / (1341 + len(rows)) == pytest.approx(1.2, abs=0.001)
    assert len(rows) == 1888  # 3875 / 1.2 = 3229 and a rest, less the 1341 that are there


@pytest.mark.parametrize("labels", [KERMANY, 1 - KERMANY], ids=["few negatives", "few positives"])
@pytest.mark.parametrize("ratio", [1.0, 1.2, 2.0])
def test_each_film_of_the_rarer_class_is_copied_equally_often_within_one(labels: np.ndarray, ratio: float) -> None:
    rows = copies(labels, ratio, seed=3)
    counts = np.bincount(rows, minlength=len(labels))
    rare = labels == labels[0]
    assert not counts[~rare].any()
    assert counts[rare].max() - counts[rare].min() <= 1
    assert len(rows) == round(3875 / ratio) - 1341


def test_equal_seeds_copy_the_same_films_in_the_same_order() -> None:
    once, again, other = (copies(KERMANY, 2.0, seed) for seed in (4, 4, 5))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


@pytest.mark.parametrize("ratio", [1.2, 3.0])
def test_nothing_is_copied_where_the_ratio_is_reached(ratio: float) -> None:
    rows = copies(np.array([0, 0, 1, 1, 1][: 4 if ratio < 2 else 5]), ratio, seed=0)
    assert rows.shape == (0,)
    assert rows.dtype == np.int64
