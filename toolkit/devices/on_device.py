"""The work on the device: `python -m toolkit.devices.on_device JOB RESULT`. Needs the base install; the same for SSH and for a stick."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from toolkit.benchmark.run import benchmark
from toolkit.core import progress
from toolkit.core.bundle import Bundle
from toolkit.core.codec import encode_json, read_json
from toolkit.core.files import sha256_of_bytes, write_atomically
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.reports import DeviceReport
from toolkit.devices.job import NO_NUMBER, Job
from toolkit.errors import CxrEdgeError, ImageError
from toolkit.imaging.decode import Pixels
from toolkit.imaging.prepare import prepare_raw
from toolkit.infer.machine import why_not_timed
from toolkit.infer.predictor import open_session
from toolkit.infer.runtimes import Session

BATCH = 16
JUMP_S = 1.0
OFF_S = 300.0


class Clocks(NamedTuple):
    """The wall clock, in seconds of Unix time, and one that nobody sets."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic


class Scored(NamedTuple):
    """Probabilities by artifact and by the film's digest, films that cannot be used, and what is to be said."""

    scores: Mapping[str, Mapping[str, float]]
    unusable: Mapping[str, str]
    problems: tuple[str, ...]


def work(job: Job, folder: Path, clocks: Clocks | None = None) -> DeviceReport:
    """Verify the bundle, time it, score the films. `folder` is where the job's paths begin. Raises what a bundle raises."""
    clocks = clocks or Clocks()
    began, steady = clocks.wall(), clocks.steady()
    bundle = Bundle(folder / job.bundle)
    bundle.verify()
    latency = benchmark(bundle, job.benchmark, job.artifacts, folder / job.film if job.film else None)
    scored = score(bundle, folder / job.films, job.artifacts) if job.films else Scored({}, {}, ())
    jumped = (clocks.wall() - began) - (clocks.steady() - steady)
    return DeviceReport(
        device=job.device,
        taken=datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
        bundle=bundle.manifest.name,
        bundle_sha256=bundle.sha256,
        latency=latency,
        scores=scored.scores,
        unusable=scored.unusable,
        problems=(*clock_problems(began, jumped, job.written_unix_s), *scored.problems),
    )


def clock_problems(began: float, jumped_s: float, written: float | None) -> tuple[str, ...]:
    """Sentences on a clock that moved otherwise than time, and on one that stands before the job was written."""
    found = []
    if abs(jumped_s) > JUMP_S:
        found.append(f"The clock jumped by {jumped_s:+.0f} s meanwhile; latencies are taken by another one and hold.")
    if written is not None and began < written - OFF_S:
        found.append(f"The clock is behind: it says {_utc(began)}, and the job was written at {_utc(written)}.")
    return tuple(found)


def score(bundle: Bundle, films: Path, names: tuple[str, ...] = ()) -> Scored:
    """Every artifact that runs here on every film below `films`, a few at a time."""
    sessions, problems = _sessions(bundle, names)
    scores: dict[str, dict[str, float]] = {name: {} for name in sessions}
    unusable: dict[str, str] = {}
    files = sorted(file for file in films.iterdir() if file.is_file())
    for batch in _batches(progress.track(files, len(files), "score films"), bundle.manifest.preprocessing, unusable):
        digests = [digest for digest, _ in batch]
        images = np.stack([pixels for _, pixels in batch])[:, None]  # [n, 1, S, S]
        for name, session in sessions.items():
            found = bundle.artifact(name).operating.probability(session.logits(images))
            scores[name] |= {digest: float(value) for digest, value in zip(digests, found, strict=True) if np.isfinite(value)}
            unusable |= {digest: f"{name} {NO_NUMBER}" for digest in digests if digest not in scores[name]}
    return Scored(scores, unusable, tuple(problems))


def _batches(files: Iterable[Path], preprocessing: Preprocessing, unusable: dict[str, str]) -> Iterator[list[tuple[str, Pixels]]]:
    """Digest and pixels of the films that can be used; the others go to `unusable` with the reason."""

    def usable() -> Iterator[tuple[str, Pixels]]:
        for file in files:
            raw = file.read_bytes()
            try:
                yield sha256_of_bytes(raw), prepare_raw(raw, preprocessing)
            except ImageError as cause:
                unusable[sha256_of_bytes(raw)] = str(cause)

    ready = usable()
    while batch := list(itertools.islice(ready, BATCH)):
        yield batch


def _sessions(bundle: Bundle, names: tuple[str, ...]) -> tuple[dict[str, Session], list[str]]:
    """What runs here, loaded; what should and does not load, in sentences. Those that are for other machines stand in the latency
    report."""
    opened: dict[str, Session] = {}
    problems = []
    for artifact in bundle.manifest.artifacts:
        if (names and artifact.name not in names) or why_not_timed(artifact.target):
            continue
        try:
            opened[artifact.name] = open_session(bundle, artifact)
        except CxrEdgeError as cause:
            problems.append(f"{artifact.name} cannot be loaded there: {cause}")
    return opened, problems


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _lines(items: Iterable[Any], total: int, label: str) -> Iterable[Any]:
    for number, item in enumerate(items, 1):
        sys.stderr.write(f"\r{label} {number}/{total}")
        sys.stderr.flush()
        yield item
    sys.stderr.write("\n")


def main(words: list[str]) -> int:
    """The command; a sentence on standard error and code 1 when it cannot be done."""
    job_file, result = map(Path, words)
    if sys.stderr.isatty():
        progress.show_with(_lines)
    try:
        report = work(read_json(job_file, Job), job_file.parent)
        write_atomically(result, encode_json(report))
    except (CxrEdgeError, OSError, MemoryError, subprocess.SubprocessError, msgspec.MsgspecError) as cause:
        sys.stderr.write(f"{cause or type(cause).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
