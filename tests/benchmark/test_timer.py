"""When timing stops, and what it says of the times."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from toolkit.benchmark.timer import FEWEST, PARTS, Rule, histogram, is_precise, median_interval, time_until, trace, unsteadiness


def binomial_at_most(count: int, runs: int) -> float:
    return sum(math.comb(runs, k) for k in range(count + 1)) / 2**runs


@pytest.mark.parametrize("runs", [*range(FEWEST, 120), 200, 1000])
def test_the_interval_covers_the_median_in_95_of_100_samples(runs: int) -> None:
    """The times 1..runs have their ranks as values; the median lies between ranks r and s of n with P(r <= Binomial(n, 1/2) < s)."""
    interval = median_interval(np.random.default_rng(0).permutation(np.arange(1.0, runs + 1)))
    assert interval is not None
    low, high = map(int, interval)
    assert low + high == runs + 1
    covered = binomial_at_most(high - 1, runs) - binomial_at_most(low - 1, runs)
    assert covered > 0.95
    if runs > 20:
        assert covered < 0.99


def test_too_few_runs_have_no_interval() -> None:
    assert median_interval(np.arange(FEWEST - 1.0)) is None
    assert not is_precise(np.ones(FEWEST - 1), 2)


def test_a_wide_interval_and_a_drift_are_not_precise() -> None:
    steady = np.full(200, 10.0)
    assert is_precise(steady, 2)
    assert not is_precise(np.linspace(8, 12, 200), 2)  # the interval is .28 wide, 2.8 %
    drifting = np.concatenate([np.full(99, 9.9), np.full(2, 10.0), np.full(99, 10.15)])
    assert not is_precise(drifting, 2)


def ticking(step: float) -> Callable[[], float]:
    moment = [0.0]

    def clock() -> float:
        moment[0] += step
        return moment[0]

    return clock


def test_it_stops_when_precise_at_the_limit_or_after_the_given_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = np.random.default_rng(1).normal(10, 2, 100_000)
    drawn = [0]

    def calls(_call: object, runs: int, warmup: int) -> np.ndarray:
        drawn[0] += runs
        return noisy[drawn[0] - runs : drawn[0]]

    monkeypatch.setattr("toolkit.benchmark.timer.time_calls", calls)
    times, why = time_until(lambda: None, Rule(100, 2.0, 1e9), 5)
    assert (why, len(times) % 50) == ("precise", 0)
    assert 100 < len(times) < 5000
    assert is_precise(times, 2.0)
    assert not is_precise(times[:-50], 2.0)
    times, why = time_until(lambda: None, Rule(100, 0.01, 3.5), 5, ticking(1.0))
    assert (why, len(times)) == ("limit", 100 + 50 * 3)
    times, why = time_until(lambda: None, Rule(7), 5)
    assert (why, len(times)) == ("runs", 7)


def test_trace_and_histogram_hold_every_run() -> None:
    times = np.concatenate([np.full(100, 1.0), np.full(100, 2.0)])
    assert trace(times) == (1.0,) * 10 + (2.0,) * 10
    assert len(trace(times[:3])) == 3 <= PARTS
    edges, counts = histogram(np.concatenate([times, [50.0]]))
    assert sum(counts) == 201
    assert len(edges) == len(counts) + 1
    assert (edges[0], edges[-1]) == (1.0, 2.0)
    assert sum(histogram(np.full(5, 3.0))[1]) == 5


def test_a_speed_that_changes_is_told_and_noise_is_not() -> None:
    noise = np.random.default_rng(0).lognormal(0, 0.2, 400)
    assert unsteadiness(noise) == ""
    slower = np.concatenate([noise[:300], 1.4 * noise[300:]])
    assert unsteadiness(slower) == f"its speed changed meanwhile, from {np.median(noise[200:300]):.3g} to {np.median(slower[300:]):.3g} ms"
    assert unsteadiness(slower[250:320]) == ""  # too few to tell
