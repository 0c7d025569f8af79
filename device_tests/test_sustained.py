"""Sustained load: films from file to answer, one after another on all threads, for `--sustained-s` seconds."""

from __future__ import annotations

import time
from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from device_tests.device import Device
from device_tests.record import called
from toolkit.benchmark.load import state
from toolkit.core.bundle import Bundle
from toolkit.core.latency import State
from toolkit.core.prediction import Prediction
from toolkit.infer.predictor import Predictor

PARTS = 10
SETTLING = 2  # rounds of all films before the clock starts


class Load(NamedTuple):
    """Milliseconds of each film in their order, and what the memory in use grew."""

    times: NDArray[np.float64]
    growth_mb: float


def answer(prediction: Prediction) -> tuple[str, str, float | None]:
    return Path(prediction.path).name, prediction.decision, prediction.probability


def rss_mb() -> float:
    """Resident memory of this process now; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii", errors="replace").splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def put_under_load(predictor: Predictor, films: list[Path], seconds: float) -> Load:
    expected = [answer(found) for _ in range(SETTLING) for found in predictor.predict(films)][-len(films) :]
    before, until, times = rss_mb(), time.monotonic() + seconds, array("d")
    while not times or time.monotonic() < until:
        found = list(predictor.predict(films))
        times.extend(prediction.ms for prediction in found)
        assert list(map(answer, found)) == expected, f"an answer changed after {len(times)} films"
    own = times.itemsize * len(times) / 2**20  # what we keep ourselves
    return Load(np.array(times), rss_mb() - own - before)


def medians(times: NDArray[np.float64], parts: int = PARTS) -> list[float]:
    """Of equal parts, in their order."""
    return [float(np.median(part)) for part in np.array_split(times, min(parts, len(times)))]


def drift_pct(p50s: list[float]) -> float:
    """Of the last part against the first."""
    return 100 * (p50s[-1] / p50s[0] - 1)


def warmth(before: State, after: State) -> str:
    if before.temperature_c is None or after.temperature_c is None:
        return "this machine tells no temperature"
    return f"from {before.temperature_c:.0f} to {after.temperature_c:.0f} degrees C"


def test_it_answers_the_same_and_as_fast_under_sustained_load(bundle: Bundle, device: Device) -> None:
    seconds = device.option("sustained-s")
    predictor, before = Predictor(bundle), state()
    found = put_under_load(predictor, device.films, seconds)
    after, p50s = state(), medians(found.times, max(PARTS, int(seconds // 60)))
    drift, growth = drift_pct(p50s), found.growth_mb
    slowed = "" if before.throttled == after.throttled else f"; the processor slowed itself down {after.throttled} times since its start"
    parts = " ".join(f"{p50:.2f}" for p50 in p50s)
    text = f"{len(found.times)} films in {seconds:g} s, p50 of each part {parts} ms: drift {drift:+.1f} %; memory {growth:+.1f} MB; "
    figures = {"films": len(found.times), "seconds": seconds, "p50s_ms": p50s, "drift_pct": drift, "growth_mb": growth}
    device.note(f"{called(bundle)}, load", text + warmth(before, after) + slowed, **figures, before=before, after=after)
    for option, value in (("max-latency-drift", drift), ("max-growth-mb", growth)):
        limit = device.limit(option)
        assert limit is None or value <= limit, f"{text}{limit} is allowed by --{option}"
