"""Calibration error, against a table worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.core.calibration import bins, calibration_error

LABELS = np.array([1, 0, 1, 1, 0])
PROBABILITIES = np.array([0.95, 0.91, 1.0, 0.42, 0.0])


def test_bins_by_hand() -> None:
    low, middle, high = bins(LABELS, PROBABILITIES)
    assert low == (1, 0.0, 0.0)
    assert middle == (1, 0.42, 1.0)
    assert (high.films, high.positive) == (3, pytest.approx(2 / 3))
    assert high.probability == pytest.approx((0.95 + 0.91 + 1.0) / 3)


def test_the_error_by_hand() -> None:
    # (1 * 0 + 1 * .58 + 3 * |.95333 - .66667|) / 5
    assert calibration_error(LABELS, PROBABILITIES) == pytest.approx((0.58 + 3 * (2.86 / 3 - 2 / 3)) / 5)


def test_a_perfect_model_has_no_error_and_no_film_none() -> None:
    assert calibration_error(np.array([1, 0]), np.array([1.0, 0.0])) == 0.0
    assert calibration_error(np.array([], int), np.array([])) is None
