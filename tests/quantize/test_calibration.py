"""Calibration films: from train only, half of each class."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.data.cases import Case
from toolkit.data.films import Films
from toolkit.errors import DataError
from toolkit.quantize.calibration import calibration_images


def films(negatives: int, positives: int, split: str = "train") -> Films:
    """Films whose pixels hold their number."""
    labels = np.array([0] * negatives + [1] * positives)
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 2), np.uint8)
    cases = tuple(Case(str(n), split, int(label), str(n), "unknown", str(n)) for n, label in enumerate(labels))
    return Films(images, labels, cases)


def test_half_of_each_class_in_turn_and_none_twice() -> None:
    numbers = calibration_images(films(10, 30), 12, seed=0)[:, 0, 0, 0]
    assert len(set(numbers.tolist())) == 12
    assert [int(number >= 10) for number in numbers] == [0, 1] * 6


def test_groups_of_a_class_take_turns_until_one_is_used_up() -> None:
    groups = ["IM"] * 4 + ["bacteria"] * 9 + ["virus"] * 2
    some = films(4, 11)
    cases = tuple(
        Case(case.name, "train", case.label, case.patient, group, case.sha256) for case, group in zip(some.cases, groups, strict=True)
    )
    numbers = calibration_images(Films(some.images, some.labels, cases), 8, seed=0)[1::2, 0, 0, 0]
    assert [groups[number] for number in numbers] == ["bacteria", "virus", "bacteria", "virus"]


def test_the_seed_decides() -> None:
    first, again, other = (calibration_images(films(20, 20), 8, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_films_of_test_are_refused() -> None:
    with pytest.raises(DataError, match="must come from train; found films of: test"):
        calibration_images(films(4, 4, split="test"), 4, seed=0)


@pytest.mark.parametrize(("negatives", "positives"), [(0, 9), (9, 0), (2, 9)])
def test_too_few_of_a_class_are_counted(negatives: int, positives: int) -> None:
    with pytest.raises(
        DataError, match=f"4 train films of each class; found {negatives and min(negatives, 4)} and {positives and min(positives, 4)}"
    ):
        calibration_images(films(negatives, positives), 8, seed=0)
