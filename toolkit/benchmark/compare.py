"""Several models in turns: what they share, the machine's other work and its heat, falls on all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from toolkit.benchmark.timer import time_calls
from toolkit.imaging.decode import Pixels
from toolkit.infer.runtimes import Session

ROUNDS, RUNS, WARMUP = 7, 40, 5


def in_turns(sessions: Mapping[str, Session], film: Pixels) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of one film, uint8 `[1, 1, H, W]`: by name the median of each round `[ROUNDS]`; in each round all have their turn."""
    calls = {name: partial(session.logits, film) for name, session in sessions.items()}
    return {name: np.median(times, axis=1) for name, times in calls_in_turns(calls, RUNS).items()}


def calls_in_turns(
    calls: Mapping[str, Callable[[], object]], runs: int, rounds: int = ROUNDS, pause_s: float = 0
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of each of `runs` calls in each round `[rounds, runs]`, by name; in each round all have their turn.

    Before a turn a pause: ONNX Runtime's threads look for work for a tenth of a second after the last, and slow down other runtimes.
    """
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(pause_s)
            found[name].append(time_calls(call, runs, WARMUP))
    return {name: np.stack(rounds) for name, rounds in found.items()}
