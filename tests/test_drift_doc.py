"""docs/drift.md states what can be computed."""

from __future__ import annotations

import doctest
import re

import numpy as np
import pytest
from scipy import stats

from benchmarks import drift_power
from toolkit.core.codec import read_json
from toolkit.validate.intervals import loss_p, wilson

FOUND = read_json(drift_power.OUT, drift_power.Table)
TEXT = drift_power.PAGE.read_text(encoding="utf-8")
MID_P = "loss beyond chance (mid-p)"


def exact_rate(lost: float, gained: float) -> float:
    """The chance that the mid-p test alarms on 390 positives, by summing over all counts that can happen."""
    ways = stats.multinomial(drift_power.POSITIVES, [lost, gained, 1 - lost - gained])
    counts = [(a, b) for a in range(90) for b in range(90)]
    alarmed = np.array([[a, b, drift_power.POSITIVES - a - b] for a, b in counts if loss_p(a, b) < drift_power.LEVEL])
    return float(ways.pmf(alarmed).sum())


def rate(setting: drift_power.Setting, criterion: str = MID_P) -> drift_power.Rate:
    return next(rate for rate in setting.rates if rate.criterion == criterion)


def test_the_tables_are_those_of_the_recorded_simulation() -> None:
    assert drift_power.page(TEXT, FOUND) == TEXT
    assert drift_power.PLOT.read_bytes() == drift_power.draw(FOUND)


def test_the_worked_example_computes() -> None:
    tried = doctest.testfile(str(drift_power.PAGE), module_relative=False)
    assert (tried.attempted, tried.failed) == (3, 0)


def test_every_share_in_the_prose_was_simulated() -> None:
    prose = re.sub(r"\s+", " ", TEXT[TEXT.index("## How often") : TEXT.index(drift_power.BEGIN)])
    stated = set(re.findall(r"\d+\.\d(?= %)", prose))
    assert len(stated) == 5
    known = {f"{100 * one.share:.1f}" for setting in (*FOUND.false_alarms, *FOUND.power) for one in setting.rates}
    assert stated <= known


@pytest.mark.parametrize("setting", [*FOUND.false_alarms, *FOUND.power], ids=lambda row: f"{row.disagreement_pt:g}-{row.loss_pt:g}")
def test_the_simulated_rates_are_the_exact_ones(setting: drift_power.Setting) -> None:
    gained = setting.disagreement_pt / 100
    exact = exact_rate(gained + setting.loss_pt / 100, gained)
    bounds = wilson(round(exact * FOUND.pairs), FOUND.pairs)
    assert bounds is not None
    deviation = (bounds[1] - bounds[0]) / 2 / 1.96
    assert abs(rate(setting).share - exact) < 3.5 * deviation  # nine settings: one in 200 runs would be outside


@pytest.mark.parametrize("disagreement_pt", [0.5, 2.0])
def test_a_thousand_pairs_without_a_loss_alarm_as_often_as_stated(disagreement_pt: float) -> None:
    drawn = rate(drift_power.simulate(disagreement_pt, 0.0, drift_power.POSITIVES, pairs=1000))
    assert drawn.ci95[0] <= exact_rate(disagreement_pt / 100, disagreement_pt / 100) <= drawn.ci95[1]


def test_the_nominal_rate_is_kept_without_a_loss() -> None:
    rates = [exact_rate(setting.disagreement_pt / 100, setting.disagreement_pt / 100) for setting in FOUND.false_alarms]
    assert max(rates) < drift_power.LEVEL + 0.005  # mid-p may exceed it by little
    assert rates[-1] == pytest.approx(drift_power.LEVEL, abs=0.005)
