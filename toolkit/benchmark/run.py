"""The stage `benchmark`: every artifact, every thread count, single-stream and offline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from toolkit.benchmark.host import describe_host
from toolkit.benchmark.runner import Job
from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.codec import decode_json, encode_json
from toolkit.core.latency import LatencyReport, LatencyRow, Skipped
from toolkit.core.progress import track
from toolkit.core.recipe import BenchmarkSpec
from toolkit.infer.machine import why_not

Scenario = Literal["single_stream", "offline"]
BATCHES: dict[Scenario, int] = {"single_stream": 1, "offline": 16}
SECONDS = 600


def benchmark(bundle: Bundle, spec: BenchmarkSpec, names: tuple[str, ...] = (), film: Path | None = None) -> LatencyReport:
    """Measure the named artifacts (all when none is named); what cannot run here is listed with the reason. Of several rounds, in which
    all have their turn, each row is the fastest: what else a machine does only slows down."""
    host = describe_host()
    jobs: list[Job] = []
    skipped: list[Skipped] = []
    for artifact in [bundle.artifact(name) for name in names] or bundle.manifest.artifacts:
        reason = why_not(artifact.target)
        if reason is None:
            jobs.extend(_jobs(bundle, artifact, spec, film))
        else:
            skipped.append(Skipped(artifact=artifact.name, reason=reason))
    rows: dict[Job, LatencyRow] = {}
    for job in track(jobs * spec.rounds, len(jobs) * spec.rounds, "benchmark"):
        found = _run(job)
        if isinstance(found, Skipped):
            skipped.append(found)
        elif job not in rows or found.p50_ms < rows[job].p50_ms:
            rows[job] = found
    return LatencyReport(host=host, rows=tuple(rows[job] for job in jobs if job in rows), skipped=tuple(dict.fromkeys(skipped)))


def single_stream_p50(report: LatencyReport) -> dict[str, float]:
    """Each artifact's best median over the thread counts, one film at a time."""
    best: dict[str, float] = {}
    for row in report.rows:
        if row.scenario == "single_stream":
            best[row.artifact] = min(row.p50_ms, best.get(row.artifact, row.p50_ms))
    return best


def _jobs(bundle: Bundle, artifact: Artifact, spec: BenchmarkSpec, film: Path | None) -> Iterator[Job]:
    cores = os.cpu_count() or 1
    for threads in sorted({min(count, cores) for count in spec.threads}):
        for scenario in get_args(Scenario):
            yield Job(
                bundle=str(bundle.folder.resolve()),
                artifact=artifact.name,
                scenario=scenario,
                threads=threads,
                batch=BATCHES[scenario],
                runs=spec.runs if scenario == "single_stream" else max(1, spec.runs // BATCHES[scenario]),
                warmup=spec.warmup if scenario == "single_stream" else max(1, spec.warmup // BATCHES[scenario]),
                film=str(film.resolve()) if film else None,
            )


def _run(job: Job) -> LatencyRow | Skipped:
    command = [sys.executable, "-m", "toolkit.benchmark.runner"]
    done = subprocess.run(command, input=encode_json(job), capture_output=True, timeout=SECONDS, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or [f"ended with code {done.returncode}"]
        return Skipped(artifact=job.artifact, reason=f"{job.scenario}, {job.threads} threads: {reason[-1]}")
    return decode_json(done.stdout, LatencyRow, "runner")
