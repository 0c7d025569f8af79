"""Temperature and threshold: by hand, and against data whose scale is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from toolkit.core.metrics import Confusion
from toolkit.core.operating import Band, OperatingPoint, choose, with_band

Drawn = tuple[NDArray[np.int64], NDArray[np.float64]]


@pytest.fixture(scope="module")
def calibrated() -> Drawn:
    """Labels that were drawn with the probability that the logits say."""
    random = np.random.default_rng(5)
    logits = random.normal(0.3, 2, 20_000)
    return (random.random(20_000) < expit(logits)).astype(np.int64), logits


def test_probability_by_hand() -> None:
    point = OperatingPoint(temperature=2.0)
    logits = np.array([0.0, 2 * np.log(3), -2 * np.log(4)], np.float32)
    assert point.probability(logits) == pytest.approx([0.5, 0.75, 0.2], abs=1e-6)
    assert point.probability(logits).dtype == np.float64


def test_extreme_logits_stay_finite_and_in_order() -> None:
    low, high = OperatingPoint(temperature=0.05).probability(np.array([-1e9, 1e9]))
    assert 0 < low < 1e-20
    assert high == pytest.approx(1)


@pytest.mark.parametrize(("threshold", "temperature"), [(0.5, 1.0), (0.2, 1.0), (0.73, 2.5), (0.01, 0.3)])
def test_the_logit_threshold_is_the_threshold_on_the_scale_of_the_graph(threshold: float, temperature: float) -> None:
    point = OperatingPoint(threshold=threshold, temperature=temperature)
    assert point.probability(np.array([point.logit_threshold()])) == pytest.approx([threshold])


def test_a_calibrated_network_needs_no_temperature(calibrated: Drawn) -> None:
    assert choose(*calibrated, 0.9).temperature == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("scale", [0.4, 3.0, 8.0])
def test_temperature_recovers_a_known_scale(scale: float, calibrated: Drawn) -> None:
    labels, logits = calibrated
    plain, scaled = choose(labels, logits, 0.9), choose(labels, scale * logits, 0.9)
    assert scaled.temperature == pytest.approx(scale * plain.temperature, rel=1e-3)
    assert scaled.threshold == pytest.approx(plain.threshold, abs=1e-3)


def test_the_threshold_lies_half_way_below_the_film_that_decides() -> None:
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    logits = np.array([4.0, 3.0, 2.0, 1.0, 2.5, 0.0, -1.0, -2.0])
    point = choose(labels, logits, 0.75)  # three of four positives: the film with logit 2 decides, the next lower one has 1
    one, two = expit(np.array([1.0, 2.0]) / point.temperature)
    assert point.threshold == pytest.approx((one + two) / 2)


@pytest.mark.parametrize(("target", "caught"), [(1.0, 10), (0.97, 10), (0.9, 9), (0.85, 9), (0.3, 3), (0.05, 1)])
def test_as_few_positives_as_the_target_allows_are_caught(target: float, caught: int) -> None:
    random = np.random.default_rng(2)
    labels = np.repeat([1, 0], [10, 30])
    logits = random.normal(2.0 * labels, 1.5)
    point = choose(labels, logits, target)
    assert Confusion.of(labels, point.probability(logits) >= point.threshold).tp == caught


@pytest.mark.parametrize("seed", range(5))
def test_the_target_is_reached_and_no_film_lies_on_the_threshold(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.r_[1, 0, random.integers(0, 2, 100)]
    logits = np.round(random.normal(3.0 * labels - 1, 2), 1)  # rounded: with ties
    point = choose(labels, logits, 0.93)
    scores = point.probability(logits)
    assert Confusion.of(labels, scores >= point.threshold).rates()[0]["recall"] >= 0.93
    assert np.abs(scores - point.threshold).min() > 1e-9
    higher = scores[scores > point.threshold].min()  # to call one film less would miss the target
    assert Confusion.of(labels, scores > higher).rates()[0]["recall"] < 0.93


def test_a_threshold_below_all_films_is_half_the_lowest_score() -> None:
    point = choose(np.array([1, 1, 0, 0]), np.array([-2.0, 1.0, -1.0, 0.5]), 1.0)
    assert point.threshold == pytest.approx(expit(-2.0 / point.temperature) / 2)


def test_separated_films_give_a_threshold_between_the_classes() -> None:
    labels, logits = np.array([1, 1, 0, 0]), np.array([30.0, 9.0, -8.0, -40.0])
    point = choose(labels, logits, 0.97)
    assert (point.probability(logits) >= point.threshold).tolist() == [True, True, False, False]
    assert -8 < point.logit_threshold() < 9


def test_the_band_by_hand() -> None:
    """Ten of each class; a tenth of each may be on the wrong side outside the band."""
    sick = np.array([-1.0, 0.5, 1, 2, 3, 4, 5, 6, 7, 8])
    well = np.array([-8.0, -7, -6, -5, -4, -3, -2, -1.5, 0.2, 1.5])
    labels, logits = np.repeat([1, 0], 10), np.concatenate([sick, well])
    point = with_band(OperatingPoint(threshold=0.5), labels, logits, 0.1)
    assert point.threshold == 0.5
    band = point.band
    assert band is not None
    # One of ten pneumonias may lie below: the second lowest, .5, is the first kept, and .2 the next lower score. One of ten normals may
    # lie above: .2 is the last one kept, and .5 the next higher score. So the edges meet, and contain the threshold.
    assert band.low == pytest.approx(0.5)
    assert band.high == pytest.approx((expit(0.2) + expit(0.5)) / 2)
    assert (band.missed, band.false_alarms, band.unsure, band.films) == (0.1, 0.1, 0.05, 20)


def test_no_errors_allowed_makes_the_band_hold_every_film_of_the_overlap() -> None:
    labels, logits = np.array([1, 1, 1, 0, 0, 0]), np.array([-2.0, 1, 3, -3, -1, 2])
    band = with_band(OperatingPoint(threshold=0.4), labels, logits, 1e-6).band
    assert band is not None
    assert (band.low, band.high) == pytest.approx((expit([-3, -2]).mean(), expit([2, 3]).mean()))
    assert (band.missed, band.false_alarms, band.unsure) == (0, 0, 4 / 6)


def test_classes_that_do_not_overlap_leave_nothing_uncertain() -> None:
    labels, logits = np.array([1, 1, 0, 0]), np.array([2.0, 3, -2, -3])
    point = with_band(OperatingPoint(threshold=0.5), labels, logits, 0.01)
    assert point.band is not None
    assert point.band.unsure == 0
    assert not any(point.is_uncertain(value) for value in point.probability(logits))


def test_the_rates_outside_the_band_hold_on_drawn_data(calibrated: Drawn) -> None:
    labels, logits = calibrated
    for most in (0.01, 0.05):
        point = with_band(choose(labels, logits, 0.9), labels, logits, most)
        scores, band = point.probability(logits), point.band
        assert band is not None
        assert (scores[labels == 1] < band.low).mean() <= most
        assert (scores[labels == 0] >= band.high).mean() <= most
        assert band.low <= point.threshold <= band.high
        unsure = [point.is_uncertain(float(score)) for score in scores]
        assert np.mean(unsure) == pytest.approx(band.unsure)


def test_a_band_that_does_not_hold_its_threshold_is_refused() -> None:
    band = Band(low=0.6, high=0.7, missed=0, false_alarms=0, unsure=0, films=1)
    with pytest.raises(ValueError, match=r"its band, 0\.6 to 0\.7, does not hold its threshold 0\.5"):
        OperatingPoint(threshold=0.5, band=band)


def test_one_films_probability_is_that_of_many() -> None:
    logits = np.concatenate([np.random.default_rng(3).normal(0, 5, 1000), [0.0, 1e9, -1e9]])
    for temperature in (0.3, 1.0, 2.5):
        point = OperatingPoint(temperature=temperature)
        one_by_one = [point.probability_of(float(logit)) for logit in logits]
        assert one_by_one == pytest.approx(point.probability(logits), rel=1e-14)
