"""How latency follows threads, and throughput the batch, of one or several bundles.

    python -m benchmarks.scaling BUNDLE [BUNDLE ...]

Those of ARTIFACTS that a bundle has, by `cxr-edge benchmark`'s own runner: one film at a time with 1, 2, 4 ... threads up to all cores, and
films per second with each of BATCHES on all cores. ROUNDS rounds in which all have their turn; of each the fastest, because what else a
machine does only slows down. Time does not depend on what a network has learnt, only on its form. Prints, and keeps in
docs/results/scaling-NAME.json; `write` alone draws the two plots from what was kept.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from matplotlib.axes import Axes

from toolkit.benchmark.run import benchmark
from toolkit.cli.options import table
from toolkit.core.bundle import Bundle
from toolkit.core.codec import Frozen, encode_json, read_json
from toolkit.core.files import write_atomically
from toolkit.core.latency import LatencyReport
from toolkit.core.recipe import BenchmarkSpec
from toolkit.errors import CxrEdgeError
from toolkit.report.plots import BLUE, GREY, ORANGE, figure_of, svg_of

FOLDER = Path(__file__).parent.parent / "docs" / "results"
THREADS_PLOT, BATCHES_PLOT = FOLDER / "scaling_threads.svg", FOLDER / "scaling_batches.svg"
ROUNDS, RUNS = 3, 300
BATCHES = (1, 4, 16, 64)
ARTIFACTS = ("onnxruntime-fp32", "onnxruntime-int8", "openvino-fp32", "openvino-int8")
COLOURS = (BLUE, ORANGE, GREY, "#5a9e6f", "#a05195")
HEAD = ("model", "artifact", "threads", "batch", "p50 ms", "films/s")


class Point(Frozen, frozen=True, kw_only=True):
    """One artifact with so many threads and films in a call; p50 of the call, milliseconds."""

    artifact: str
    threads: int
    batch: int
    p50_ms: float
    films_per_s: float


class Scaling(Frozen, frozen=True, kw_only=True):
    """One model on one machine."""

    name: str
    processor: str
    cores: int
    single: tuple[Point, ...]
    offline: tuple[Point, ...]


def measure(bundle: Bundle) -> Scaling:
    """Threads with one film at a time, then batches on all cores."""
    cores = os.cpu_count() or 1
    doubling = tuple(sorted({min(2**power, cores) for power in range(cores.bit_length() + 1)}))
    names = tuple(name for name in ARTIFACTS if name in bundle.names)
    threads = benchmark(bundle, BenchmarkSpec(rounds=ROUNDS, runs=RUNS, threads=doubling, batches=(1,)), names)
    batches = benchmark(bundle, BenchmarkSpec(rounds=ROUNDS, runs=RUNS, threads=(cores,), batches=BATCHES), names)
    name, host = bundle.manifest.name, threads.host
    single, offline = _points(threads, "single_stream"), _points(batches, "offline")
    return Scaling(name=name, processor=host.processor, cores=cores, single=single, offline=offline)


def _points(report: LatencyReport, scenario: str) -> tuple[Point, ...]:
    return tuple(
        Point(artifact=row.artifact, threads=row.threads, batch=row.batch, p50_ms=row.p50_ms, films_per_s=row.images_per_s)
        for row in report.rows
        if row.scenario == scenario
    )


def kept() -> list[Scaling]:
    """All that was measured so far."""
    return [read_json(file, Scaling) for file in sorted(FOLDER.glob("scaling-*.json"))]


def rows(found: Scaling) -> list[tuple[str, ...]]:
    """A row for each point, for people."""
    return [
        (found.name, one.artifact, str(one.threads), str(one.batch), f"{one.p50_ms:.2f}", f"{one.films_per_s:.0f}")
        for one in (*found.single, *(point for point in found.offline if point.batch > 1))
    ]


def threads_plot(models: list[Scaling]) -> bytes:
    """A panel for each model: median milliseconds of one film by threads."""
    figure = figure_of(3.3 * len(models), 3.2)
    for axes, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        _lines(axes, [(one.artifact, one.threads, one.p50_ms) for one in model.single])
        axes.set(title=model.name, xlabel="threads", ylabel="ms a film, median", ylim=(0, None))
    return svg_of(figure)


def batches_plot(models: list[Scaling]) -> bytes:
    """A panel for each model: films per second by batch, on all cores."""
    figure = figure_of(3.3 * len(models), 3.2)
    for axes, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        _lines(axes, [(one.artifact, one.batch, one.films_per_s) for one in model.offline])
        axes.set(title=model.name, xlabel="films in a call", ylabel=f"films per second, {model.cores} threads", ylim=(0, None))
    return svg_of(figure)


def _lines(axes: Axes, points: list[tuple[str, int, float]]) -> None:
    for colour, name in zip(COLOURS, dict.fromkeys(one[0] for one in points), strict=False):
        places = [(at, value) for artifact, at, value in points if artifact == name]
        axes.plot(*zip(*places, strict=True), ".-", color=colour, label=name)
    ticks = sorted({at for _, at, _ in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=7)


def main() -> None:
    """Measure what is named, and draw all that was kept."""
    try:
        for folder in sys.argv[1:] if sys.argv[1:] != ["write"] else ():
            found = measure(Bundle(Path(folder)))
            write_atomically(FOLDER / f"scaling-{found.name}.json", encode_json(found))
            print(table(HEAD, rows(found)))
    except CxrEdgeError as error:
        sys.exit(f"Error: {error}")
    models = kept()
    write_atomically(THREADS_PLOT, threads_plot(models))
    write_atomically(BATCHES_PLOT, batches_plot(models))


if __name__ == "__main__":
    main()
