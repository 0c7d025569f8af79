"""Are our latencies true, do they repeat, and what does our runtime add?

    python -m benchmarks.latency_checks BUNDLE

Agreement: each artifact by `cxr-edge benchmark`'s own runner and by another tool, ROUNDS times. The other tool is OpenVINO's
`benchmark_app` (`-hint latency -api sync`), for ONNX Runtime a bare loop around `InferenceSession.run` in a process without a line of ours.
A shared machine changes its speed by a tenth within a second, and no counter tells: so the two processes run in turns of SLICE_S seconds,
one halted while the other works, and both see the same machine (a call that a halt cuts in two is one of hundreds, and the median passes
over it). Repeatability: ROUNDS runs of ours in such turns, and how far they lie apart. Disturbance: one run alone, and one beside
processes that hog every core. Overhead: array in, decision out by our runtime, less the bare call of the session inside it, call by call.
On all cores. Prints, and keeps in docs/results/latency_checks-NAME.json; exit code 1 when a limit does not hold. Wants a machine that does
nothing else.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from types import SimpleNamespace
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toolkit.benchmark.host import describe_host
from toolkit.benchmark.run import measure_jobs
from toolkit.benchmark.runner import Job
from toolkit.benchmark.timer import time_calls
from toolkit.cli.options import table
from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.codec import Frozen, decode_json, encode_json
from toolkit.core.files import write_atomically
from toolkit.core.latency import LatencyRow
from toolkit.errors import CxrEdgeError
from toolkit.infer.machine import why_not_timed
from toolkit.infer.on_openvino import HINTS, OpenvinoSession
from toolkit.infer.predictor import open_session
from toolkit.infer.runtimes import Session

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
FOLDER = Path(__file__).parent.parent / "docs" / "results"
ROUNDS, RUNS, WARMUP, SLICE_S = 5, 3000, 50, 0.1
ALONE_RUNS = 1000
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


class Start(NamedTuple):
    """A process to be started, and what it reads."""

    command: list[str]
    stdin: bytes


class Agreement(Frozen, frozen=True, kw_only=True):
    """One artifact by us and `by` the other tool: p50 in milliseconds of each round; `repeats_ms`: of ROUNDS runs of ours in turns."""

    artifact: str
    by: str
    theirs_ms: tuple[float, ...]
    ours_ms: tuple[float, ...]
    repeats_ms: tuple[float, ...]

    @property
    def ratios(self) -> NDArray[np.float64]:
        """Ours by theirs, round by round."""
        return np.array(self.ours_ms) / np.array(self.theirs_ms)


class Overhead(Frozen, frozen=True, kw_only=True):
    """Medians of one film, milliseconds: the bare call, and what is around it from array to decision."""

    artifact: str
    bare_ms: float
    added_ms: float

    @property
    def added_us(self) -> float:
        """Microseconds that our runtime adds."""
        return 1000 * self.added_ms


class Checks(Frozen, frozen=True, kw_only=True):
    """All of it, of one bundle. `alone` and `hogged`: what a run of the fastest artifact says of disturbance, without and with hogs."""

    bundle: str
    processor: str
    threads: int
    agreement: tuple[Agreement, ...]
    fastest: str
    alone: str
    hogged: str
    overhead: tuple[Overhead, ...]


def check(bundle: Bundle, threads: int) -> Checks:
    """Measure it all."""
    here = [artifact for artifact in bundle.manifest.artifacts if why_not_timed(artifact.target) is None]
    agreement = tuple(_agreement(bundle, artifact, threads) for artifact in here)
    fastest = min(agreement, key=lambda one: np.median(one.ours_ms)).artifact
    return Checks(
        bundle=bundle.manifest.name,
        processor=describe_host().processor,
        threads=threads,
        agreement=agreement,
        fastest=fastest,
        alone=_alone(bundle, fastest, threads),
        hogged=_hogged(bundle, fastest, threads),
        overhead=tuple(_overhead(bundle, artifact, threads) for artifact in here),
    )


def _agreement(bundle: Bundle, artifact: Artifact, threads: int) -> Agreement:
    rounds = []
    for _ in range(ROUNDS):
        rounds.append(beside_other(bundle, artifact, threads, RUNS))
        print(f"{artifact.name}: {rounds[-1][0]:.3f} ms by the other tool, {rounds[-1][1]:.3f} by ours", file=sys.stderr, flush=True)
    theirs_ms, ours_ms = zip(*rounds, strict=True)
    repeats = tuple(_p50_ms(printed) for printed in in_turns(*[_own(bundle, artifact, threads, RUNS)] * ROUNDS))
    by = "benchmark_app" if artifact.target.backend == "openvino" else "bare loop"
    return Agreement(artifact=artifact.name, by=by, theirs_ms=theirs_ms, ours_ms=ours_ms, repeats_ms=repeats)


def beside_other(bundle: Bundle, artifact: Artifact, threads: int, runs: int) -> tuple[float, float]:
    """Medians in milliseconds of `runs` calls, by the other tool and by ours, each in a process of its own, in turns."""
    openvino = artifact.target.backend == "openvino"
    command, read = (_benchmark_app(bundle, artifact, runs), _app_median) if openvino else (_bare(bundle, artifact, threads, runs), float)
    theirs, ours = in_turns(Start(command, b""), _own(bundle, artifact, threads, runs))
    return read(theirs), _p50_ms(ours)


def _own(bundle: Bundle, artifact: Artifact, threads: int, runs: int) -> Start:
    return Start([sys.executable, "-m", "toolkit.benchmark.runner"], encode_json((_job(bundle, artifact.name, threads, runs),)))


def _p50_ms(printed: str) -> float:
    (row,) = decode_json(printed.encode(), tuple[LatencyRow, ...], "rows")
    return row.p50_ms


def in_turns(*starts: Start) -> list[str]:
    """What each process printed; one works at a time, SLICE_S seconds, until all but one are done."""
    with ExitStack() as stack:
        pairs = [(stack.enter_context(TemporaryFile()), stack.enter_context(TemporaryFile())) for _ in starts]
        for start, (stdin, _) in zip(starts, pairs, strict=True):
            stdin.write(start.stdin)
            stdin.seek(0)
        running = [
            subprocess.Popen(start.command, stdin=stdin, stdout=stdout) for start, (stdin, stdout) in zip(starts, pairs, strict=True)
        ]
        for one in running:
            one.send_signal(signal.SIGSTOP)
        while len(left := [one for one in running if one.poll() is None]) > 1:
            for one in left:
                one.send_signal(signal.SIGCONT)
                time.sleep(SLICE_S)
                one.send_signal(signal.SIGSTOP)
        for one in running:
            one.send_signal(signal.SIGCONT)
        ended = [one.wait() for one in running]
        if any(ended):
            sys.exit("A timing process failed; what it said stands above.")
        return [_text(stdout) for _, stdout in pairs]


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()


def _job(bundle: Bundle, name: str, threads: int, runs: int) -> Job:
    return Job(
        bundle=str(bundle.folder.resolve()), artifact=name, scenario="single_stream", threads=threads, batch=1, runs=runs, warmup=WARMUP
    )


def _benchmark_app(bundle: Bundle, artifact: Artifact, runs: int) -> list[str]:
    edge, hint = bundle.manifest.preprocessing.size_px, HINTS.get(artifact.target.precision, "f32")
    options = f"-hint latency -api sync -niter {runs} -infer_precision {hint} -shape image[1,1,{edge},{edge}]"
    return [str(Path(sys.executable).with_name("benchmark_app")), "-m", str(bundle.paths(artifact)[0]), *options.split()]


def _app_median(printed: str) -> float:
    found = re.search(r"Median:\s+([\d.]+) (ms|us)", printed)
    if found is None:
        sys.exit(f"benchmark_app gave no median:\n{printed}")
    return float(found[1]) / (1000 if found[2] == "us" else 1)


def _bare(bundle: Bundle, artifact: Artifact, threads: int, runs: int) -> list[str]:
    numbers = map(str, (threads, runs, WARMUP, bundle.manifest.preprocessing.size_px))
    return [sys.executable, "-c", BARE, str(bundle.paths(artifact)[0]), *numbers]


def _alone(bundle: Bundle, name: str, threads: int) -> str:
    (found,) = measure_jobs((_job(bundle, name, threads, ALONE_RUNS),))
    if not isinstance(found, LatencyRow):
        sys.exit(f"{name} was not measured: {found.reason}")
    return found.disturbed


def _hogged(bundle: Bundle, name: str, threads: int) -> str:
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        return _alone(bundle, name, threads)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _overhead(bundle: Bundle, artifact: Artifact, threads: int) -> Overhead:
    session = open_session(bundle, artifact, threads)
    edge, point = bundle.manifest.preprocessing.size_px, artifact.operating
    film = np.random.default_rng(0).integers(0, 256, (edge, edge), dtype=np.uint8)
    inner = timed(session)

    def decided() -> bool:
        return point.probability_of(float(session.logits(film[None, None])[0])) >= point.threshold

    whole = time_calls(decided, ALONE_RUNS, WARMUP)
    bare = np.array(inner[-ALONE_RUNS:])
    return Overhead(artifact=artifact.name, bare_ms=float(np.median(bare)), added_ms=float(np.median(whole - bare)))


def timed(session: Session) -> list[float]:
    """Where the milliseconds of each bare call of the session's runtime will be found, from now on."""
    inner: list[float] = []

    def watched(call: Callable[..., object]) -> Callable[..., object]:
        def timing(*arguments: object, **named: object) -> object:
            started = time.perf_counter_ns()
            answer = call(*arguments, **named)
            inner.append((time.perf_counter_ns() - started) / 1e6)
            return answer

        return timing

    if isinstance(session, OpenvinoSession):
        own = session._own()
        session._threads.one = own._replace(request=SimpleNamespace(infer=watched(own.request.infer)))  # type: ignore[arg-type]
    else:
        session._run = watched(session._run)  # type: ignore[attr-defined]
    return inner


def problems(found: Checks) -> list[str]:
    """What does not hold."""
    apart = [one for one in found.agreement if abs(float(np.median(one.ratios)) - 1) * 100 > AGREE_PCT]
    said = [f"{one.artifact}: ours is {np.median(one.ratios):.3f} of {one.by}'s" for one in apart]
    loose = [one for one in found.agreement if spread_pct(one.repeats_ms) > REPEAT_PCT]
    said += [f"{one.artifact}: {ROUNDS} runs differ by {spread_pct(one.repeats_ms):.1f} %" for one in loose]
    if "other work" in found.alone or "other work" not in found.hogged:
        said.append(f"alone a run says {found.alone!r}, beside a hog {found.hogged!r}")
    over = [one for one in found.overhead if one.added_us > OVERHEAD_US]
    return said + [f"{one.artifact}: our runtime adds {one.added_us:.0f} microseconds" for one in over]


def disturbance(found: Checks) -> str:
    """How runs were marked, in a sentence."""
    said = [f"'{one}'" if one else "nothing" for one in (found.alone, found.hogged)]
    return f"Of disturbance a run of {found.fastest} says alone {said[0]}, and beside a hog on each core {said[1]}."


def spread_pct(values: ArrayLike) -> float:
    """Largest less smallest, in percent of the median."""
    return float(100 * np.ptp(values) / np.median(values))


def tables(found: Checks) -> tuple[Table, Table]:
    """Agreement with repeatability, and overhead: heads and rows, for people."""
    agreement = [
        (
            one.artifact,
            one.by,
            f"{np.median(one.theirs_ms):.3f}",
            f"{np.median(one.ours_ms):.3f}",
            f"{np.median(one.ratios):.3f}",
            f"{min(one.ratios):.3f} to {max(one.ratios):.3f}",
            f"{spread_pct(one.repeats_ms):.1f} %",
        )
        for one in found.agreement
    ]
    overhead = [(one.artifact, f"{one.bare_ms:.3f}", f"{one.added_us:.0f}") for one in found.overhead]
    return (
        (("artifact", "other tool", "its p50 ms", "our p50 ms", "ratio", "least and most", "five runs of ours differ by"), agreement),
        (("artifact", "bare call ms", "added microseconds"), overhead),
    )


def main() -> None:
    """What the command line says."""
    try:
        found = check(Bundle(Path(sys.argv[1])), os.cpu_count() or 1)
    except CxrEdgeError as error:
        sys.exit(f"Error: {error}")
    write_atomically(FOLDER / f"latency_checks-{found.bundle}.json", encode_json(found))
    print("\n\n".join(table(*one) for one in tables(found)))
    print(f"\n{disturbance(found)}")
    if failed := problems(found):
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
