"""Intervals and tests against published or hand-worked figures."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.core.metrics import roc_auc
from toolkit.validate.intervals import auc_interval, beyond_limit_p, loss_p, lost_proven, mcnemar, positives_needed, upper_bound, wilson


def test_wilson_by_hand() -> None:
    # 81 of 263, Newcombe, Statistics in Medicine 17 (1998), table I, method 3: .2553 to .3662
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(0, 0) is None


@pytest.mark.parametrize(("lost", "limit_pt", "proven"), [(0, 1, True), (1, 1, False), (3, 2, True), (4, 2, False)])
def test_lost_positives_that_390_can_carry(lost: int, limit_pt: int, proven: bool) -> None:
    assert (100 * upper_bound(lost, 390) <= limit_pt) is proven


def test_upper_bound_of_none_lost_by_hand() -> None:
    assert upper_bound(0, 390) == pytest.approx(1 - 0.05 ** (1 / 390))


def test_mcnemar_by_hand() -> None:
    # 6 against 1: twice the chance of at most one of seven, 2 * (1 + 7) / 128
    assert mcnemar(6, 1) == pytest.approx(2 * 8 / 128)
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(0, 0) == 1.0


def test_a_loss_by_chance_by_hand() -> None:
    # 5 against 1: six of six heads (1/64), and half of five of six (6/64)
    assert loss_p(5, 1) == pytest.approx((1 + 6 / 2) / 64)
    assert loss_p(3, 3) == pytest.approx(0.5)
    assert loss_p(0, 4) == pytest.approx(1 - 0.5**5)
    assert loss_p(0, 0) == 1.0


def test_a_loss_beyond_a_limit_by_hand() -> None:
    # at least one of 10 at 1 %: 1 - .99^10; at least two: 10 * .01 * .99^9 less
    assert beyond_limit_p(1, 10, 0.01) == pytest.approx(1 - 0.99**10)
    assert beyond_limit_p(2, 10, 0.01) == pytest.approx(1 - 0.99**10 - 0.1 * 0.99**9)
    assert beyond_limit_p(0, 10, 0.01) == pytest.approx(1.0)
    assert (beyond_limit_p(1, 10, 0.0), beyond_limit_p(10, 10, 1.0)) == (0.0, 1.0)


@pytest.mark.parametrize(("limit", "proven"), [(0.005, None), (0.01, 0), (0.02, 3), (0.5, 178), (1.0, 390)])
def test_lost_ones_of_390_that_still_prove_a_limit(limit: float, proven: int | None) -> None:
    assert lost_proven(390, limit) == proven
    if proven is not None and limit < 1:
        assert upper_bound(proven, 390) <= limit < upper_bound(proven + 1, 390)


def test_positives_that_prove_a_limit_by_hand() -> None:
    # none lost of n: .99^n <= .05 from n = 299 on, .995^n from 598 on
    assert positives_needed(0.0, 0.01) == 299
    assert positives_needed(0.0, 0.005) == 598
    assert positives_needed(0.0, 1.0) == 1
    assert positives_needed(0.01, 0.01) is None
    # five of 1 000 bound the share by 1.048 %: 1 % wants a few more
    assert 100 * upper_bound(5, 1000) == pytest.approx(1.048, abs=5e-4)
    needed = positives_needed(0.005, 0.01)
    assert needed is not None
    assert 1000 < needed < 1300
    assert upper_bound(round(0.005 * 10 * needed), 10 * needed) < 0.01


def test_delong_by_hand() -> None:
    labels, scores = np.array([1, 1, 1, 0, 0]), np.array([0.9, 0.8, 0.4, 0.5, 0.2])
    # pairs in order: 2, 2, 1 of 2 -> AUC 5/6; V10 = 1, 1, 1/2 (var 1/12), V01 = 2/3, 1 (var 1/18)
    error = np.sqrt((1 / 12) / 3 + (1 / 18) / 2)  # .2357
    half = 1.959964 * error / (5 / 36)  # on the logit scale, whose slope at 5/6 is 1 / (5/6 * 1/6)
    odds = 5 * np.exp([-half, half])
    assert roc_auc(labels, scores) == pytest.approx(5 / 6)
    assert auc_interval(labels, scores) == pytest.approx(odds / (1 + odds), abs=1e-6)


def test_delong_covers_the_true_area_at_about_its_rate() -> None:
    random, hits = np.random.default_rng(0), 0
    labels = np.array([0] * 80 + [1] * 120)
    for _ in range(300):
        bounds = auc_interval(labels, random.normal(labels * 1.5, 1))
        assert bounds is not None
        hits += bounds[0] <= 0.8556 <= bounds[1]  # the normal distribution function at 1.5 / sqrt(2)
    assert 0.92 < hits / 300 < 0.98


def test_no_certainty_from_fully_separated_classes() -> None:
    assert auc_interval(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])) is None
    assert auc_interval(np.array([1, 1]), np.array([0.1, 0.2])) is None
