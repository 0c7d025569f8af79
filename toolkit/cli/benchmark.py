"""`cxr-edge benchmark`: latency on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click

from toolkit.benchmark.run import benchmark as measure
from toolkit.cli.options import SOME_UNUSABLE, bundle_argument, json_option, number, table, write_json
from toolkit.core.bundle import Bundle
from toolkit.core.latency import LatencyReport
from toolkit.core.recipe import BenchmarkSpec


@click.command()
@bundle_argument
@click.option("--artifact", "names", metavar="NAME", multiple=True, help="This artifact only (may be repeated); by default all.")
@click.option("--threads", type=click.IntRange(1), multiple=True, help="Thread count (may be repeated); by default 1 and all cores.")
@click.option("--runs", type=click.IntRange(1), default=1000, show_default=True, help="Timed runs of a row.")
@click.option("--warmup", type=click.IntRange(0), default=50, show_default=True, help="Runs before them that do not count.")
@click.option(
    "--film",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Picture for the file-to-logit time [default: synthetic, 1024 px].",
)
@json_option
@click.pass_context
def benchmark(
    ctx: click.Context,
    bundle_path: Path,
    names: tuple[str, ...],
    threads: tuple[int, ...],
    runs: int,
    warmup: int,
    film: Path | None,
    json_file: str | None,
) -> None:
    """Measure the artifacts of BUNDLE on this machine, each row in a process of its own.

    \b
    Example:  cxr-edge benchmark exported/szanet --threads 2
    """
    spec = BenchmarkSpec(runs=runs, warmup=max(1, warmup), threads=threads or (1, os.cpu_count() or 1))
    report = measure(Bundle(bundle_path), spec, names, film)
    if json_file != "-":
        click.echo(_shown(report))
    write_json(report, json_file)
    for skipped in report.skipped:
        click.echo(f"{skipped.artifact} was not measured: {skipped.reason}", err=True)
    if report.skipped:
        ctx.exit(SOME_UNUSABLE)


def _shown(report: LatencyReport) -> str:
    rows = [
        [
            row.artifact,
            row.scenario,
            str(row.threads),
            str(row.batch),
            number(row.p50_ms),
            number(row.p90_ms),
            number(row.p99_ms),
            number(row.images_per_s, 0),
            number(row.load_ms, 0),
            number(row.end_to_end_p50_ms, 2),
            number(row.peak_rss_mb, 0),
        ]
        for row in report.rows
    ]
    head = ("artifact", "scenario", "threads", "batch", "p50 ms", "p90 ms", "p99 ms", "films/s", "load ms", "file-to-logit ms", "peak MB")
    host = report.host
    return f"{host.processor}, {host.cores} cores, {', '.join(host.features)}\n{table(head, rows)}"
