"""`cxr-edge benchmark`: latency on this machine."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from toolkit.benchmark.run import benchmark as measure
from toolkit.benchmark.run import eager
from toolkit.cli.options import SOME_UNUSABLE, bundle_argument, json_option, number, table, write_json
from toolkit.core.bundle import Bundle
from toolkit.core.latency import LatencyReport, LatencyRow
from toolkit.core.recipe import BenchmarkSpec
from toolkit.core.target import PROCESSORS, processor_family
from toolkit.errors import InputError


@click.command()
@bundle_argument
@click.option("--artifact", "names", metavar="NAME", multiple=True, help="This artifact only (may be repeated); by default all.")
@click.option("--threads", type=click.IntRange(1), multiple=True, help="Thread count (may be repeated) [default: 1 to all cores].")
@click.option("--batch", "batches", type=click.IntRange(1), multiple=True, help="Films a call, offline (may be repeated) [default: 16].")
@click.option("--runs", type=click.IntRange(1), default=1000, show_default=True, help="Timed runs of a row, at least.")
@click.option(
    "--precision",
    type=click.FloatRange(0, 100, min_open=True),
    default=2.0,
    show_default=True,
    metavar="PCT",
    help="Go on until the 95 % interval of the median is narrower than this share of it.",
)
@click.option(
    "--most", "most_s", type=click.FloatRange(0), default=30.0, show_default=True, metavar="SECONDS", help="But no longer, for each row."
)
@click.option("--warmup", type=click.IntRange(1), default=50, show_default=True, help="Runs before them that do not count.")
@click.option(
    "--cold-starts", type=click.IntRange(0), default=5, show_default=True, help="How often the whole command is started on one film."
)
@click.option("--energy", is_flag=True, help="Ask RAPL, tegrastats or nvidia-smi for the energy of a film.")
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="DIR", help="Measure this network in PyTorch too, as the base line.")
@click.option(
    "--film",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Picture for the file-to-logit time [default: synthetic, 1024 px].",
)
@click.option("--device", "address", default="local", show_default=True, metavar="ADDRESS", help="local, or ssh://user@host[:port].")
@json_option
@click.pass_context
def benchmark(
    ctx: click.Context,
    bundle_path: Path,
    names: tuple[str, ...],
    threads: tuple[int, ...],
    batches: tuple[int, ...],
    runs: int,
    precision: float,
    most_s: float,
    warmup: int,
    cold_starts: int,
    energy: bool,
    checkpoint: Path | None,
    film: Path | None,
    address: str,
    json_file: str | None,
) -> None:
    """Measure the artifacts of BUNDLE on this machine or another, each in a process of its own for each number of threads.

    'single_stream' is one film after another, 'offline' many in a call. A row that other work disturbed is marked. cxr-edge devices
    measures several machines, and validates drift there.

    \b
    Example:  cxr-edge benchmark exported/szanet --threads 2
    """
    spec = BenchmarkSpec(
        runs=runs,
        warmup=warmup,
        threads=threads or tuple(range(1, (os.cpu_count() or 1) + 1)),
        batches=batches or (16,),
        precision_pct=precision,
        most_s=most_s,
        cold_starts=cold_starts,
        energy=energy,
    )
    bundle = Bundle(bundle_path)
    if address != "local":
        report = _elsewhere(bundle_path, address, Visit(spec, names, film, checkpoint))
    else:
        report = _here(bundle, Visit(spec, names, film, checkpoint))
    if json_file != "-":
        click.echo(_shown(report))
    write_json(report, json_file)
    for skipped in report.skipped:
        click.echo(f"{skipped.artifact} was not measured: {skipped.reason}", err=True)
    at_home_elsewhere = set() if names else _for_other_processors(bundle, report)
    if {skipped.artifact for skipped in report.skipped} - at_home_elsewhere:
        ctx.exit(SOME_UNUSABLE)


def _for_other_processors(bundle: Bundle, report: LatencyReport) -> set[str]:
    """Forms of int8 that have no time on the machine of the report, and miss nothing there."""
    own = processor_family(report.host.machine, report.host.features)
    targets = {artifact.name: artifact.target for artifact in bundle.manifest.artifacts}
    return {name for name, target in targets.items() if not target.serves(own) and any(map(target.serves, PROCESSORS))}


class Visit(NamedTuple):
    """What is asked of another machine."""

    spec: BenchmarkSpec
    names: tuple[str, ...]
    film: Path | None
    checkpoint: Path | None


def _here(bundle: Bundle, asked: Visit) -> LatencyReport:
    taken = datetime.now(UTC).isoformat(timespec="seconds")
    rows, failed = eager(asked.checkpoint, bundle, asked.spec, asked.film) if asked.checkpoint else ((), ())
    found = measure(bundle, asked.spec, asked.names, asked.film)
    return msgspec.structs.replace(found, rows=found.rows + rows, skipped=found.skipped + failed, bundle_sha256=bundle.sha256, taken=taken)


def _elsewhere(bundle: Path, address: str, asked: Visit) -> LatencyReport:
    from toolkit.devices.payload import Options
    from toolkit.devices.visit import measure as visit

    if asked.checkpoint:
        raise InputError("--checkpoint needs PyTorch, which no device has; leave it out with --device.")
    found = visit(bundle, address, Options(spec=asked.spec, artifacts=asked.names, film=asked.film))
    for problem in found.problems:
        click.echo(problem, err=True)
    return found.latency


def _shown(report: LatencyReport) -> str:
    parts = [_machine(report), _times(report), _around(report), *_remarks(report)]
    return "\n".join(part for part in parts if part)


def _machine(report: LatencyReport) -> str:
    host, before, after = report.host, report.before, report.after
    lines = [f"{host.processor}, {host.cores} cores, {', '.join(host.features)}"]
    if host.emulator:
        lines.append(f"{host.emulator} imitates this processor: no time here means anything.")
    if before and after:
        heat = [("governor", before.governor, after.governor), ("MHz", before.frequency_mhz, after.frequency_mhz)]
        heat += [("degrees C", before.temperature_c, after.temperature_c), ("throttled", before.throttled, after.throttled)]
        told = [f"{name} {_value(one)} then {_value(other)}" for name, one, other in heat if one is not None]
        missing = [name for name, one, _ in heat if one is None]
        lines.append("; ".join([*told, *([f"not told here: {', '.join(missing)}"] if missing else [])]))
    return "\n".join(lines)


def _value(value: float | str | None) -> str:
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def _times(report: LatencyReport) -> str:
    rows = [
        [
            row.artifact,
            row.scenario,
            str(row.threads),
            str(row.batch),
            str(row.runs),
            number(row.p50_ms),
            _half_width(row),
            number(row.p90_ms),
            number(row.p99_ms),
            number(row.images_per_s, 0),
            number(row.energy_mj, 1),
            f"{'*' if row.disturbed else ''}{'' if row.stopped != 'limit' else '>'}",
        ]
        for row in report.rows
    ]
    head = ("artifact", "scenario", "threads", "batch", "runs", "p50 ms", "+- %", "p90 ms", "p99 ms", "films/s", "mJ a film", "")
    return table(head, rows)


def _around(report: LatencyReport) -> str:
    """What one film costs besides the model."""
    rows = [
        [
            row.artifact,
            str(row.threads),
            number(row.load_ms, 0),
            number(row.first_ms, 1),
            number(row.decode_p50_ms, 2),
            number(row.end_to_end_p50_ms, 2),
            number(row.peak_rss_mb, 0),
            number(row.model_bytes / 1e6, 2),
        ]
        for row in report.rows
        if row.scenario == "single_stream"
    ]
    head = ("artifact", "threads", "load ms", "first ms", "decode and resize ms", "file-to-logit ms", "peak MB", "file MB")
    return f"\n{table(head, rows)}" if rows else ""


def _half_width(row: LatencyRow) -> str:
    low, high = row.p50_ci95_ms or (None, None)
    return "-" if low is None or high is None else f"{100 * (high - low) / 2 / row.p50_ms:.1f}"


def _remarks(report: LatencyReport) -> list[str]:
    """Cold start, marks, and why there is no energy."""
    lines = []
    if report.cold_start:
        cold = report.cold_start
        memory = f", {cold.peak_rss_mb:.0f} MB" if cold.peak_rss_mb else ""
        told = "; the film was rejected, so the model was loaded and not asked: give --film" if cold.rejected else ""
        lines.append(
            f"\nWhole command on one film ({cold.artifact}): {cold.wall_p50_s:.2f} s, at most {cold.wall_max_s:.2f} s{memory}{told}"
        )
    lines += [f"* {row.artifact}, {row.scenario}, {row.threads} threads: {row.disturbed}" for row in report.rows if row.disturbed]
    if any(row.stopped == "limit" for row in report.rows):
        lines.append("> stopped by the limit of time before the median was known as well as asked")
    asked = {row.energy_reason for row in report.rows if row.energy_mj is None} - {"not asked for"}
    return [*lines, *(f"No energy: {reason}" for reason in sorted(asked))]
