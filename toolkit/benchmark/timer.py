"""Timing of repeated calls: percentiles that the run count can carry, never a mean alone."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def time_calls(call: Callable[[], object], runs: int, warmup: int) -> NDArray[np.float64]:
    """Milliseconds of each of `runs` calls `[runs]`, after `warmup` calls that do not count."""
    for _ in range(warmup):
        call()
    times = np.empty(runs)
    for run in range(runs):
        started = time.perf_counter_ns()
        call()
        times[run] = (time.perf_counter_ns() - started) / 1e6
    return times


def percentile(times: NDArray[np.float64], percent: int) -> float | None:
    """The percentile, or None when fewer than ten runs lie beyond it (p99 needs 1000 runs, p90 needs 100)."""
    if percent != 50 and len(times) * (100 - percent) < 1000:
        return None
    return float(np.percentile(times, percent))
