"""Are our latencies true, do they repeat, and what does our runtime add?

    python -m benchmarks.latency_checks BUNDLE

Agreement: each artifact by `cxr-edge benchmark`'s own runner and by another tool, in turns, ROUNDS times, medians of the medians. The other
tool is OpenVINO's `benchmark_app` (`-hint latency -api sync`), for ONNX Runtime a bare loop around `InferenceSession.run` in a process
without a line of ours. Repeatability: the fastest artifact, ROUNDS times. Disturbance: once more beside processes that hog every core.
Overhead: array in, decision out by our runtime, less the bare call of the session, in one process, in turns. On all cores. Prints, and
keeps in docs/results/latency_checks.json; exit code 1 when a limit does not hold. Wants a machine that does nothing else.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from toolkit.benchmark.compare import calls_in_turns
from toolkit.benchmark.host import describe_host
from toolkit.benchmark.run import measure_job
from toolkit.benchmark.runner import Job
from toolkit.cli.options import table
from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.codec import Frozen, encode_json
from toolkit.core.files import write_atomically
from toolkit.core.latency import LatencyRow
from toolkit.errors import CxrEdgeError
from toolkit.infer.machine import why_not
from toolkit.infer.on_openvino import HINTS, OpenvinoSession
from toolkit.infer.predictor import open_session
from toolkit.infer.runtimes import Session

OUT = Path(__file__).parent.parent / "docs" / "results" / "latency_checks.json"
ROUNDS, RUNS, WARMUP = 5, 500, 50
AGREE_PCT, REPEAT_PCT, OVERHEAD_US = 5.0, 5.0, 60.0
BARE = """
import json, sys, time
import numpy as np
import onnxruntime as ort
path, threads, runs, warmup, edge = sys.argv[1], *map(int, sys.argv[2:])
options = ort.SessionOptions()
options.intra_op_num_threads = threads
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
film = np.random.default_rng(0).integers(0, 256, (1, 1, edge, edge), dtype=np.uint8)
times = []
for run in range(runs + warmup):
    started = time.perf_counter_ns()
    session.run(["logit"], {"image": film})
    times.append(time.perf_counter_ns() - started)
print(json.dumps(float(np.median(times[warmup:])) / 1e6))
"""


class Agreement(Frozen, frozen=True, kw_only=True):
    """Medians over the rounds, milliseconds; `by` is the other tool."""

    artifact: str
    by: str
    theirs_ms: float
    ours_ms: float


class Overhead(Frozen, frozen=True, kw_only=True):
    """Medians of one film, milliseconds: the bare call, and from array to decision."""

    artifact: str
    bare_ms: float
    ours_ms: float


class Checks(Frozen, frozen=True, kw_only=True):
    """All of it, of one bundle. `repeats_ms`: p50 of one artifact, time after time. `hogged`: what the row beside a hog says."""

    bundle: str
    processor: str
    threads: int
    agreement: tuple[Agreement, ...]
    repeated: str
    repeats_ms: tuple[float, ...]
    disturbed: tuple[str, ...]
    hogged: str
    overhead: tuple[Overhead, ...]


def check(bundle: Bundle, threads: int) -> Checks:
    """Measure it all."""
    here = [artifact for artifact in bundle.manifest.artifacts if why_not(artifact.target) is None]
    agreement = tuple(_agreement(bundle, artifact, threads) for artifact in here)
    fastest = min(agreement, key=lambda one: one.ours_ms).artifact
    rows = [_ours(bundle, fastest, threads) for _ in range(ROUNDS)]
    return Checks(
        bundle=bundle.manifest.name,
        processor=describe_host().processor,
        threads=threads,
        agreement=agreement,
        repeated=fastest,
        repeats_ms=tuple(row.p50_ms for row in rows),
        disturbed=tuple(row.disturbed for row in rows),
        hogged=_hogged(bundle, fastest, threads),
        overhead=tuple(_overhead(bundle, artifact, threads) for artifact in here),
    )


def _agreement(bundle: Bundle, artifact: Artifact, threads: int) -> Agreement:
    by, theirs = ("benchmark_app", _benchmark_app) if artifact.target.backend == "openvino" else ("bare loop", _bare)
    pairs = [(theirs(bundle, artifact, threads), _ours(bundle, artifact.name, threads).p50_ms) for _ in range(ROUNDS)]
    other, ours = np.median(np.array(pairs), axis=0).tolist()
    return Agreement(artifact=artifact.name, by=by, theirs_ms=other, ours_ms=ours)


def _ours(bundle: Bundle, name: str, threads: int) -> LatencyRow:
    job = Job(
        bundle=str(bundle.folder.resolve()), artifact=name, scenario="single_stream", threads=threads, batch=1, runs=RUNS, warmup=WARMUP
    )
    found = measure_job(job)
    if not isinstance(found, LatencyRow):
        sys.exit(f"{name} was not measured: {found.reason}")
    return found


def _benchmark_app(bundle: Bundle, artifact: Artifact, _threads: int) -> float:
    edge, hint = bundle.manifest.preprocessing.size_px, HINTS.get(artifact.target.precision, "f32")
    command = [
        str(Path(sys.executable).with_name("benchmark_app")),
        "-m",
        str(bundle.paths(artifact)[0]),
        "-hint",
        "latency",
        "-api",
        "sync",
    ]
    command += ["-niter", str(RUNS), "-infer_precision", hint, "-shape", f"image[1,1,{edge},{edge}]"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Median:\s+([\d.]+) (ms|us)", done.stdout)
    if found is None:
        sys.exit(f"benchmark_app gave no median for {artifact.name}:\n{done.stdout}")
    return float(found[1]) / (1000 if found[2] == "us" else 1)


def _bare(bundle: Bundle, artifact: Artifact, threads: int) -> float:
    numbers = map(str, (threads, RUNS, WARMUP, bundle.manifest.preprocessing.size_px))
    command = [sys.executable, "-c", BARE, str(bundle.paths(artifact)[0]), *numbers]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def _hogged(bundle: Bundle, name: str, threads: int) -> str:
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        return _ours(bundle, name, threads).disturbed
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _overhead(bundle: Bundle, artifact: Artifact, threads: int) -> Overhead:
    session = open_session(bundle, artifact, threads)
    edge, point = bundle.manifest.preprocessing.size_px, artifact.operating
    film = np.random.default_rng(0).integers(0, 256, (edge, edge), dtype=np.uint8)

    def decided() -> bool:
        return bool(point.probability(session.logits(film[None, None]))[0] >= point.threshold)

    times = calls_in_turns({"bare": _bare_call(session, film[None, None]), "ours": decided}, RUNS, ROUNDS, 0.2)
    medians = {name: float(np.median(np.median(found, axis=1))) for name, found in times.items()}
    return Overhead(artifact=artifact.name, bare_ms=medians["bare"], ours_ms=medians["ours"])


def _bare_call(session: Session, film: np.ndarray) -> Callable[[], object]:
    """The runtime's own call on a film that is in its place already."""
    if isinstance(session, OpenvinoSession):
        session.logits(film)
        return session._one.infer
    run = session._run  # type: ignore[attr-defined]
    return lambda: run(("logit",), {"image": film})


def problems(found: Checks) -> list[str]:
    """What does not hold."""
    apart = [one for one in found.agreement if abs(one.ours_ms / one.theirs_ms - 1) * 100 > AGREE_PCT]
    said = [f"{one.artifact}: ours {one.ours_ms:.3f} ms, {one.by} {one.theirs_ms:.3f} ms" for one in apart]
    if spread_pct(found) > REPEAT_PCT:
        said.append(f"{found.repeated}: five runs differ by {spread_pct(found):.1f} %")
    if "other work" not in found.hogged:
        said.append("a run beside a hog is not marked")
    over = [one for one in found.overhead if 1000 * (one.ours_ms - one.bare_ms) > OVERHEAD_US]
    return said + [f"{one.artifact}: our runtime adds {1000 * (one.ours_ms - one.bare_ms):.0f} microseconds" for one in over]


def spread_pct(found: Checks) -> float:
    """Largest less smallest, in percent of the median."""
    return 100 * (max(found.repeats_ms) - min(found.repeats_ms)) / float(np.median(found.repeats_ms))


def tables(found: Checks) -> str:
    """What a person reads."""
    agreement = [
        (one.artifact, one.by, f"{one.theirs_ms:.3f}", f"{one.ours_ms:.3f}", f"{one.ours_ms / one.theirs_ms:.3f}")
        for one in found.agreement
    ]
    overhead = [
        (one.artifact, f"{one.bare_ms:.3f}", f"{one.ours_ms:.3f}", f"{1000 * (one.ours_ms - one.bare_ms):.0f}") for one in found.overhead
    ]
    repeats = ", ".join(f"{value:.3f}" for value in found.repeats_ms)
    return "\n\n".join(
        (
            table(("artifact", "other tool", "its p50 ms", "our p50 ms", "ratio"), agreement),
            f"{found.repeated}, five times: {repeats} ms; they differ by {spread_pct(found):.1f} %.",
            f"Beside a hog: {found.hogged or 'not marked'}.",
            table(("artifact", "bare call ms", "array to decision ms", "added microseconds"), overhead),
        )
    )


def main() -> None:
    """What the command line says."""
    try:
        found = check(Bundle(Path(sys.argv[1])), os.cpu_count() or 1)
    except CxrEdgeError as error:
        sys.exit(f"Error: {error}")
    write_atomically(OUT, encode_json(found))
    print(tables(found))
    if failed := problems(found):
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
