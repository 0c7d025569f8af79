"""Measures one artifact on so many threads, alone in its process: `python -m toolkit.benchmark.runner`, jobs and rows as JSON.

A fresh process makes load time and peak memory those of the artifact, not of what ran before it. Scenarios of one sitting share what is
loaded; each row's peak memory is what was reached up to its end.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from toolkit.benchmark.energy import Meter, find_meter, rest_watts
from toolkit.benchmark.load import disturbance, now
from toolkit.benchmark.timer import Rule, Times, histogram, median_interval, percentile, time_calls, time_until, trace, unsteadiness
from toolkit.core.bundle import Bundle
from toolkit.core.codec import Frozen, decode_json, encode_json
from toolkit.core.latency import LatencyRow, Scenario, Stopped
from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import CxrEdgeError
from toolkit.imaging.decode import Pixels
from toolkit.imaging.prepare import prepare_raw
from toolkit.infer.predictor import open_session
from toolkit.infer.runtimes import OnDevice, Session

FILM_EDGE_PX = 1024
END_TO_END_RUNS, END_TO_END_WARMUP = 20, 3
DEVICE_RUNS = 50


class Job(Frozen, frozen=True, kw_only=True):
    """What to measure. `film` is a picture file for decoding and the end-to-end time; None takes a synthetic 1024 px grey JPEG.

    `runs`, `precision_pct` and `most_s` as in `timer.Rule`. `checkpoint`: a folder of weights for PyTorch instead of an artifact.
    """

    bundle: str
    artifact: str
    scenario: Scenario
    threads: int
    batch: int
    runs: int
    warmup: int
    film: str | None = None
    precision_pct: float | None = None
    most_s: float = 30.0
    energy: bool = False
    checkpoint: str | None = None


Sitting = tuple[Job, ...]
"""Jobs of one artifact on one number of threads, which differ in scenario and batch."""


class Loaded(NamedTuple):
    """A session, what it is, and how long it took to be ready."""

    session: Session
    backend: str
    precision: str
    bytes: int
    load_ms: float


class Watch(NamedTuple):
    """What the calls took, what disturbed them, and their energy in millijoules a film."""

    times: Times
    stopped: Stopped
    disturbed: str
    energy_mj: float | None
    energy_reason: str


def measure(jobs: Sitting) -> tuple[LatencyRow, ...]:
    """Load, and for each job warm up and time."""
    bundle = Bundle(Path(jobs[0].bundle))
    artifact = bundle.artifact(jobs[0].artifact)
    started = time.perf_counter()
    session = open_session(bundle, artifact, jobs[0].threads)
    load_ms = (time.perf_counter() - started) * 1000
    loaded = Loaded(session, artifact.target.backend, artifact.target.precision, artifact.bytes, load_ms)
    return tuple(measure_session(job, loaded, bundle.manifest.preprocessing) for job in jobs)


def measure_session(job: Job, loaded: Loaded, preprocessing: Preprocessing) -> LatencyRow:
    """A row of what is loaded already."""
    film = Path(job.film).read_bytes() if job.film else synthetic_film()
    batch = np.repeat(prepare_raw(film, preprocessing)[None, None], job.batch, axis=0)  # [batch, 1, S, S]
    call = partial(loaded.session.logits, batch)
    first_ms = float(time_calls(call, 1, 0)[0])
    seen = _watched(call, job, loaded.backend)
    p50 = float(np.median(seen.times))
    edges, counts = histogram(seen.times)
    return LatencyRow(
        artifact=job.artifact,
        backend=loaded.backend,
        precision=loaded.precision,
        scenario=job.scenario,
        threads=job.threads,
        batch=job.batch,
        runs=len(seen.times),
        warmup=job.warmup,
        p50_ms=p50,
        p90_ms=percentile(seen.times, 90),
        p99_ms=percentile(seen.times, 99),
        images_per_s=job.batch * 1000 / p50,
        load_ms=loaded.load_ms,
        first_ms=first_ms,
        peak_rss_mb=_peak_rss_mb(),
        model_bytes=loaded.bytes,
        p50_ci95_ms=median_interval(seen.times),
        stopped=seen.stopped,
        disturbed=seen.disturbed,
        energy_mj=seen.energy_mj,
        energy_reason=seen.energy_reason,
        trace_ms=trace(seen.times),
        histogram_edges_ms=edges,
        histogram_counts=counts,
        **_device_times(loaded.session, batch),
        **_film_times(loaded.session, film, preprocessing, job),
    )


def synthetic_film() -> bytes:
    """A grey JPEG of 1024 x 1024 px with the smooth shades and the noise of a film."""
    ramp = np.linspace(-1, 1, FILM_EDGE_PX)
    shade = 128 + 90 * np.cos(3 * ramp)[:, None] * np.cos(2 * ramp)[None, :]
    noise = np.random.default_rng(0).normal(0, 6, shape := (FILM_EDGE_PX, FILM_EDGE_PX))
    stream = io.BytesIO()
    Image.fromarray(np.clip(shade + noise.reshape(shape), 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _watched(call: Callable[[], object], job: Job, backend: str) -> Watch:
    """Time the calls, with an eye on the machine and on its energy."""
    meter: Meter | str = find_meter(backend) if job.energy else "not asked for"
    rest = 0.0 if isinstance(meter, str) else rest_watts(meter)
    time_calls(call, 0, job.warmup)
    joules = 0.0 if isinstance(meter, str) else meter.joules()
    before = now()
    times, stopped = time_until(call, Rule(job.runs, job.precision_pct, job.most_s), 0)
    after = now()
    disturbed = "; ".join(filter(None, (disturbance(before, after), unsteadiness(times))))
    if isinstance(meter, str):
        return Watch(times, stopped, disturbed, None, meter)
    used = meter.joules() - joules - rest * (after.clock - before.clock)
    meter.close()
    return Watch(times, stopped, disturbed, max(used, 0.0) * 1000 / (len(times) * job.batch), f"{meter.name}, above rest")


def _device_times(session: Session, batch: Pixels) -> dict[str, Any]:
    """What a GPU says itself, the median of DEVICE_RUNS; nothing for a processor."""
    if not isinstance(session, OnDevice):
        return {}
    times = [session.device_ms(batch) for _ in range(DEVICE_RUNS)]
    return {"device_p50_ms": float(np.median(times)), "launch": session.launch}


def _film_times(session: Session, film: bytes, preprocessing: Preprocessing, job: Job) -> dict[str, Any]:
    """Milliseconds from a file's bytes to the array, and to the logit, medians of at most END_TO_END_RUNS; one film at a time only."""
    if job.scenario != "single_stream":
        return {"decode_p50_ms": None, "end_to_end_p50_ms": None}

    times = []
    for _ in range(END_TO_END_WARMUP + min(job.runs, END_TO_END_RUNS)):
        started = time.perf_counter()
        pixels = prepare_raw(film, preprocessing)
        decoded = time.perf_counter()
        session.logits(pixels[None, None])
        times.append((decoded - started, time.perf_counter() - started))
    decode_ms, answer_ms = 1000 * np.median(times[END_TO_END_WARMUP:], axis=0)
    return {"decode_p50_ms": float(decode_ms), "end_to_end_p50_ms": float(answer_ms)}


def _peak_rss_mb() -> float | None:
    """Largest resident memory of this process so far; None where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def serve(answer: Callable[[Sitting], tuple[LatencyRow, ...]]) -> int:
    """Read a Sitting from standard input, write its rows to standard output; 1 and a sentence when it cannot be done."""
    try:
        rows = answer(decode_json(sys.stdin.buffer.read(), Sitting, "jobs"))
    except CxrEdgeError as cause:
        sys.stderr.write(str(cause))
        return 1
    sys.stdout.buffer.write(encode_json(rows))
    return 0


if __name__ == "__main__":
    sys.exit(serve(measure))
