"""Measures one artifact in one scenario, alone in its process: `python -m toolkit.benchmark.runner`, job and row as JSON.

A fresh process makes load time and peak memory those of the artifact, not of what ran before it.
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from toolkit.benchmark.timer import percentile, time_calls
from toolkit.core.bundle import Bundle
from toolkit.core.codec import Frozen, decode_json, encode_json
from toolkit.core.latency import LatencyRow
from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import CxrEdgeError
from toolkit.imaging.prepare import prepare_raw
from toolkit.infer.predictor import open_session
from toolkit.infer.runtimes import Session

FILM_EDGE_PX = 1024


class Job(Frozen, frozen=True, kw_only=True):
    """What to measure. `film` is a picture file for the end-to-end time; None takes a synthetic 1024 px grey JPEG."""

    bundle: str
    artifact: str
    scenario: Literal["single_stream", "offline"]
    threads: int
    batch: int
    runs: int
    warmup: int
    film: str | None = None


def measure(job: Job) -> LatencyRow:
    """Load, warm up, time."""
    bundle = Bundle(Path(job.bundle))
    artifact = bundle.artifact(job.artifact)
    started = time.perf_counter()
    session = open_session(bundle, artifact, job.threads)
    load_ms = (time.perf_counter() - started) * 1000
    preprocessing = bundle.manifest.preprocessing
    film = Path(job.film).read_bytes() if job.film else synthetic_film()
    batch = np.repeat(prepare_raw(film, preprocessing)[None, None], job.batch, axis=0)
    times = time_calls(lambda: session.logits(batch), job.runs, job.warmup)
    single = job.scenario == "single_stream"
    return LatencyRow(
        artifact=job.artifact,
        backend=artifact.target.backend,
        precision=artifact.target.precision,
        scenario=job.scenario,
        threads=job.threads,
        batch=job.batch,
        runs=job.runs,
        warmup=job.warmup,
        p50_ms=float(np.median(times)),
        p90_ms=percentile(times, 90),
        p99_ms=percentile(times, 99),
        images_per_s=job.batch * 1000 / float(np.median(times)),
        load_ms=load_ms,
        peak_rss_mb=_peak_rss_mb(),
        model_bytes=artifact.bytes,
        end_to_end_p50_ms=_end_to_end(session, film, preprocessing, job.runs) if single else None,
    )


def synthetic_film() -> bytes:
    """A grey JPEG of 1024 x 1024 px with the smooth shades and the noise of a film."""
    ramp = np.linspace(-1, 1, FILM_EDGE_PX)
    shade = 128 + 90 * np.cos(3 * ramp)[:, None] * np.cos(2 * ramp)[None, :]
    noise = np.random.default_rng(0).normal(0, 6, shape := (FILM_EDGE_PX, FILM_EDGE_PX))
    stream = io.BytesIO()
    Image.fromarray(np.clip(shade + noise.reshape(shape), 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _end_to_end(session: Session, film: bytes, preprocessing: Preprocessing, runs: int) -> float:
    """Milliseconds from file bytes to logit, median of at most 50."""
    return float(np.median(time_calls(lambda: session.logits(prepare_raw(film, preprocessing)[None, None]), min(runs, 50), 3)))


def _peak_rss_mb() -> float | None:
    """Largest resident memory of this process so far; None where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> int:
    """Read a Job from standard input, write a LatencyRow to standard output; 1 and a sentence when it cannot be done."""
    try:
        row = measure(decode_json(sys.stdin.buffer.read(), Job, "job"))
    except CxrEdgeError as cause:
        sys.stderr.write(str(cause))
        return 1
    sys.stdout.buffer.write(encode_json(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
