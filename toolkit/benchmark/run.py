"""The stage `benchmark`: every artifact, every thread count, single-stream and offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from statistics import median

import msgspec

from toolkit.benchmark.host import describe_host
from toolkit.benchmark.load import state
from toolkit.benchmark.runner import Job, Sitting, synthetic_film
from toolkit.core.artifacts import Checkpoint
from toolkit.core.bundle import Bundle
from toolkit.core.codec import decode_json, encode_json, read_json
from toolkit.core.latency import ColdStart, LatencyReport, LatencyRow, Skipped
from toolkit.core.progress import track
from toolkit.core.recipe import BenchmarkSpec
from toolkit.errors import ImageError, InputError
from toolkit.imaging.decode import read_grey
from toolkit.infer.machine import why_not_timed

SECONDS = 600
EAGER = "torch-eager"
Measured = tuple[tuple[LatencyRow, ...], tuple[Skipped, ...]]


def benchmark(bundle: Bundle, spec: BenchmarkSpec, names: tuple[str, ...] = (), film: Path | None = None) -> LatencyReport:
    """Measure the named artifacts (all when none is named); what cannot run here is listed with the reason. Of several rounds, in which
    all have their turn, each row is the fastest: what else a machine does only slows down. Raises InputError for a `film` that is none."""
    if film:
        try:
            read_grey(film)
        except ImageError as cause:
            raise InputError(f"{film} {cause}; give a film.") from cause
    before = state()
    chosen = [bundle.artifact(name) for name in names] or list(bundle.manifest.artifacts)
    reasons = {artifact.name: why_not_timed(artifact.target) for artifact in chosen}
    jobs = [job for artifact in chosen if reasons[artifact.name] is None for job in _jobs(bundle, artifact.name, spec, film)]
    rows, failed = _measured(jobs, spec.rounds)
    skipped = [Skipped(artifact=name, reason=reason) for name, reason in reasons.items() if reason]
    fastest = min((row for row in rows if row.scenario == "single_stream"), key=lambda row: row.p50_ms, default=None)
    return LatencyReport(
        host=describe_host(),
        rows=rows,
        skipped=(*skipped, *failed),
        before=before,
        after=state(),
        cold_start=cold_start(bundle, fastest.artifact, spec.cold_starts, film) if fastest and spec.cold_starts else None,
    )


def eager(checkpoint: Path, bundle: Bundle, spec: BenchmarkSpec, film: Path | None = None) -> Measured:
    """The base line: the network of a checkpoint in PyTorch, as it was trained, in the same scenarios.

    Raises InputError when there is no checkpoint, or it is of another model than the bundle.
    """
    description = checkpoint / "checkpoint.json"
    if not description.is_file():
        raise InputError(f"No checkpoint in {checkpoint}: there is no checkpoint.json in it; give RUN/train or RUN/prune.")
    model = read_json(description, Checkpoint).model
    if model != bundle.manifest.model:
        raise InputError(
            f"{checkpoint} is a {model} and {bundle.folder} a {bundle.manifest.model}; give the checkpoint that it was made from."
        )
    jobs = [msgspec.structs.replace(job, checkpoint=str(checkpoint.resolve())) for job in _jobs(bundle, EAGER, spec, film)]
    return _measured(jobs, spec.rounds)


def single_stream_p50(report: LatencyReport) -> dict[str, float]:
    """Each artifact's best median over the thread counts, one film at a time."""
    best: dict[str, float] = {}
    for row in report.rows:
        if row.scenario == "single_stream":
            best[row.artifact] = min(row.p50_ms, best.get(row.artifact, row.p50_ms))
    return best


def cold_start(bundle: Bundle, artifact: str, runs: int, film: Path | None = None) -> ColdStart | None:
    """The whole command on one film, `runs` times; None when it does not answer, or this system cannot tell its memory."""
    if not hasattr(os, "posix_spawn"):
        return None
    with tempfile.TemporaryDirectory() as place:
        picture = film or Path(place) / "film.jpeg"
        if film is None:
            picture.write_bytes(synthetic_film())
        predict = [sys.executable, "-m", "toolkit.cli", "predict", str(bundle.folder), str(picture), "--artifact", artifact]
        command = [sys.executable, "-m", "toolkit.benchmark.cold", str(runs), *predict]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        return None
    walls, peaks, codes = zip(*(json.loads(line) for line in done.stdout.splitlines()), strict=True)
    return ColdStart(
        artifact=artifact, runs=runs, wall_p50_s=median(walls), wall_max_s=max(walls), peak_rss_mb=max(peaks), rejected=any(codes)
    )


def _measured(jobs: list[Job], rounds: int) -> Measured:
    """Rows in the order of their jobs, and what failed, each once."""
    rows: dict[Job, LatencyRow] = {}
    failed: list[Skipped] = []
    sittings = [tuple(sitting) for _, sitting in groupby(jobs, key=lambda job: (job.artifact, job.threads))]
    for sitting in track(sittings * rounds, len(sittings) * rounds, "benchmark"):
        for job, found in zip(sitting, measure_jobs(sitting), strict=True):
            if isinstance(found, Skipped):
                failed.append(found)
            elif job not in rows or found.p50_ms < rows[job].p50_ms:
                rows[job] = found
    return tuple(rows[job] for job in jobs if job in rows), tuple(dict.fromkeys(failed))


def _jobs(bundle: Bundle, name: str, spec: BenchmarkSpec, film: Path | None) -> Iterator[Job]:
    """Every thread count, one film at a time, then every batch."""
    cores = os.cpu_count() or 1
    single = Job(
        bundle=str(bundle.folder.resolve()),
        artifact=name,
        scenario="single_stream",
        threads=1,
        batch=1,
        runs=spec.runs,
        warmup=spec.warmup,
        film=str(film.resolve()) if film else None,
        precision_pct=spec.precision_pct,
        most_s=spec.most_s,
        energy=spec.energy,
    )
    for threads in sorted({min(count, cores) for count in spec.threads}):
        yield msgspec.structs.replace(single, threads=threads)
        for batch in spec.batches:
            runs, warmup = max(1, spec.runs // batch), max(1, spec.warmup // batch)
            yield msgspec.structs.replace(single, threads=threads, scenario="offline", batch=batch, runs=runs, warmup=warmup)


def measure_jobs(sitting: Sitting) -> tuple[LatencyRow | Skipped, ...]:
    """A row of each job, in a fresh process, or why there is none: when one fails, each gets a process of its own."""
    module = "toolkit.eager" if sitting[0].checkpoint else "toolkit.benchmark.runner"
    command = [sys.executable, "-m", module]
    done = subprocess.run(command, input=encode_json(sitting), capture_output=True, timeout=SECONDS * len(sitting), check=False)
    if not done.returncode:
        return decode_json(done.stdout, tuple[LatencyRow, ...], "runner")
    if len(sitting) > 1:
        return tuple(found for job in sitting for found in measure_jobs((job,)))
    (job,) = sitting
    reason = done.stderr.decode(errors="replace").strip().splitlines() or [f"ended with code {done.returncode}"]
    return (Skipped(artifact=job.artifact, reason=f"{job.scenario}, {job.threads} threads: {reason[-1]}"),)
