"""Several models in turns: what they share, the machine's other work and its heat, falls on all alike."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from toolkit.benchmark.timer import time_calls
from toolkit.imaging.decode import Pixels
from toolkit.infer.runtimes import Session

ROUNDS, RUNS, WARMUP = 7, 40, 5


def in_turns(sessions: Mapping[str, Session], film: Pixels) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of one film, uint8 `[1, 1, H, W]`: by name the median of each round `[ROUNDS]`; in each round all have their turn."""
    found: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            found[name].append(float(np.median(time_calls(partial(session.logits, film), RUNS, WARMUP))))
    return {name: np.array(medians) for name, medians in found.items()}
