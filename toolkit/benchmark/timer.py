"""Timing of repeated calls: percentiles that the run count can carry, never a mean alone; runs until the median is known well enough."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.core.latency import Stopped

Times = NDArray[np.float64]
Z95 = 1.96
FEWEST = 6  # below, no pair of order statistics covers the median in 95 of 100 samples
CHUNK = 50
PARTS = 20
BINS = 40
UNSTEADY_PCT, QUARTERS_NEED = 10.0, 80


class Rule(NamedTuple):
    """When to stop: after `least` runs, as soon as the 95 % interval of the median is narrower than `precision_pct` of it and the medians
    of both halves agree as well, or after `most_s` seconds. Without a precision exactly `least` runs are made."""

    least: int
    precision_pct: float | None = None
    most_s: float = math.inf


def time_calls(call: Callable[[], object], runs: int, warmup: int) -> Times:
    """Milliseconds of each of `runs` calls `[runs]`, after `warmup` calls that do not count."""
    for _ in range(warmup):
        call()
    times = np.empty(runs)
    for run in range(runs):
        started = time.perf_counter_ns()
        call()
        times[run] = (time.perf_counter_ns() - started) / 1e6
    return times


def time_until(call: Callable[[], object], rule: Rule, warmup: int, clock: Callable[[], float] = time.monotonic) -> tuple[Times, Stopped]:
    """Milliseconds of each call until the rule stops it, and why it stopped."""
    if rule.precision_pct is None:
        return time_calls(call, rule.least, warmup), "runs"
    until = clock() + rule.most_s
    times = time_calls(call, rule.least, warmup)
    while not is_precise(times, rule.precision_pct):
        if clock() >= until:
            return times, "limit"
        times = np.concatenate([times, time_calls(call, CHUNK, 0)])
    return times, "precise"


def is_precise(times: Times, percent: float) -> bool:
    """True when the median's interval is narrower than `percent` of it, and the halves' medians differ by less: no drift."""
    interval = median_interval(times)
    if interval is None:
        return False
    halves = [float(np.median(half)) for half in np.array_split(times, 2)]
    allowed = percent / 100 * float(np.median(times))
    return interval[1] - interval[0] < allowed and abs(halves[1] - halves[0]) < allowed


def unsteadiness(times: Times) -> str:
    """In words, that the machine's speed changed while it was timed: by more than UNSTEADY_PCT from one quarter of the runs to another.
    Empty when it did not, or runs are too few to tell. What a neighbour on the same hardware or heat does, no counter of load shows."""
    if len(times) < QUARTERS_NEED:
        return ""
    quarters = [float(np.median(part)) for part in np.array_split(times, 4)]
    low, high = min(quarters), max(quarters)
    return f"its speed changed meanwhile, from {low:.3g} to {high:.3g} ms" if high > low * (1 + UNSTEADY_PCT / 100) else ""


def median_interval(times: Times) -> tuple[float, float] | None:
    """95 % interval of the median, from order statistics (Conover, Practical Nonparametric Statistics, 3.2): no distribution is assumed,
    runs are taken as independent. None for fewer than FEWEST runs."""
    runs = len(times)
    if runs < FEWEST:
        return None
    below = max(1, math.floor((runs - Z95 * math.sqrt(runs)) / 2))  # rank of the lower end, from 1
    ordered = np.partition(times, (below - 1, runs - below))
    return float(ordered[below - 1]), float(ordered[runs - below])


def percentile(times: Times, percent: int) -> float | None:
    """The percentile, or None when fewer than ten runs lie beyond it (p99 needs 1000 runs, p90 needs 100)."""
    if percent != 50 and len(times) * (100 - percent) < 1000:
        return None
    return float(np.percentile(times, percent))


def trace(times: Times) -> tuple[float, ...]:
    """The medians of up to PARTS equal parts, in their order: whether it got slower meanwhile."""
    parts = min(PARTS, len(times))
    return tuple(float(np.median(part)) for part in np.array_split(times, parts)) if parts else ()


def histogram(times: Times) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Edges in milliseconds and counts; the last bin takes all beyond the 99.5th percentile."""
    top = float(np.percentile(times, 99.5))
    counts, edges = np.histogram(np.minimum(times, top), bins=BINS, range=(float(times.min()), max(top, float(times.min()) + 1e-6)))
    return tuple(map(float, edges)), tuple(map(int, counts))
