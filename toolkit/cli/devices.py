"""`cxr-edge devices measure | kit | wheels`: a bundle on other machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from toolkit.cli.options import SOME_UNUSABLE, bundle_argument, json_option, number, percent, table, write_json
from toolkit.core.recipe import BenchmarkSpec, ValidateSpec
from toolkit.core.reports import DeviceReport
from toolkit.errors import InputError

if TYPE_CHECKING:
    from toolkit.devices.fleet import Device, FleetResult
    from toolkit.devices.payload import Options

FAILED = 1
F = TypeVar("F", bound=Callable[..., Any])
folder = click.Path(path_type=Path)
threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    multiple=True,
    help="Thread count, at most the device's cores (may be repeated) [default: 1, 2, 4].",
)
runs_option = click.option("--runs", type=click.IntRange(1), default=200, show_default=True, help="Timed runs of a row.")
artifact_option = click.option("--artifact", "names", metavar="NAME", multiple=True, help="This artifact only (may be repeated).")
films_option = click.option("--films", type=folder, metavar="DIR", help="Labelled folder or .zip of films to validate drift on.")


@click.group()
def devices() -> None:
    """Measure a bundle on other machines, over SSH or by a USB stick, and validate it there.

    \b
    Example:  cxr-edge devices measure exported/szanet --device ssh://clinic@192.168.1.20 --films chest_xray
    """


@devices.command()
@bundle_argument
@click.option("--device", "addresses", multiple=True, metavar="ADDRESS", help="ssh://user@host[:port] or local (may be repeated).")
@click.option("--fleet", type=folder, metavar="FILE", help="A list of devices, such as recipes/devices.yaml.")
@films_option
@click.option("--install", type=folder, metavar="WHEELS", help="Install what is missing there from this folder; removed afterwards.")
@click.option("--python", default="python3", show_default=True, metavar="COMMAND", help="Python there.")
@click.option("--folder", "place", metavar="DIR", help="Place for temporary files there [default: its own].")
@click.option("--out", type=folder, metavar="DIR", help="Write result-NAME.json for each device here.")
@artifact_option
@runs_option
@threads_option
@click.option("--max-recall-loss", type=percent, default=1.0, show_default=True, metavar="PT", help="Limit of the gate.")
@json_option
@click.pass_context
def measure(
    ctx: click.Context,
    bundle_path: Path,
    addresses: tuple[str, ...],
    fleet: Path | None,
    films: Path | None,
    install: Path | None,
    python: str,
    place: str | None,
    out: Path | None,
    names: tuple[str, ...],
    runs: int,
    threads: tuple[int, ...],
    max_recall_loss: float,
    json_file: str | None,
) -> None:
    """Measure BUNDLE on devices side by side; with --films, hold its drift there against the gate.

    Copied there: the bundle, a runner, the films under their digest instead of their name. Nothing is installed without --install, and
    all is removed afterwards. A device that fails is named, the others go on. Exit code 3: some failed; 1: all failed, or a gate did.

    \b
    Example:  cxr-edge devices measure exported/szanet --fleet recipes/devices.yaml --films chest_xray --out devices
    """
    from toolkit.devices.fleet import measure_fleet, write_reports
    from toolkit.devices.payload import Options

    options = Options(
        spec=_spec(runs, threads),
        artifacts=names,
        films=films,
        gate=ValidateSpec(max_recall_loss_pt=max_recall_loss),
        install=install,
        python=python,
        folder=place,
    )
    result = measure_fleet(bundle_path, _devices(addresses, fleet), options)
    if out:
        write_reports(result, out)
    if json_file != "-" and result.devices:
        click.echo(_shown(result))
    write_json(result, json_file)
    _end(ctx, result, options)


@devices.command()
@bundle_argument
@click.option("--out", type=folder, required=True, metavar="DIR", help="The folder to write; it must not hold anything yet.")
@films_option
@click.option("--wheels", type=folder, metavar="DIR", help="Put these wheels on the stick, for machines that lack the packages.")
@artifact_option
@runs_option
@threads_option
def kit(
    bundle_path: Path,
    out: Path,
    films: Path | None,
    wheels: Path | None,
    names: tuple[str, ...],
    runs: int,
    threads: tuple[int, ...],
) -> None:
    """Write a folder for a USB stick. There, `sh run.sh` measures a machine and leaves result-HOSTNAME.json on the stick.

    \b
    Example:  cxr-edge devices kit exported/szanet --wheels wheels --out /media/stick/cxr-edge-kit
    """
    from toolkit.devices.kit import write_kit
    from toolkit.devices.payload import Options

    write_kit(bundle_path, out, Options(spec=_spec(runs, threads), artifacts=names, films=films, install=wheels))
    click.echo(f"{out}: on the machine, give  sh run.sh  there; it writes result-HOSTNAME.json beside itself.")


@devices.command()
@click.option("--platform", required=True, metavar="TAG", help="Such as manylinux_2_28_aarch64 or manylinux_2_28_x86_64.")
@click.option("--python-version", "versions", multiple=True, metavar="3.N", help="Of the devices (may be repeated) [default: 3.11].")
@click.option("--constraint", type=folder, metavar="FILE", help="Exact versions, such as constraints.txt.")
@click.option("--out", type=folder, required=True, metavar="DIR", help="Folder for the wheels.")
def wheels(platform: str, versions: tuple[str, ...], constraint: Path | None, out: Path) -> None:
    """Gather the base install as wheels for devices without network: the one command of this group that downloads.

    \b
    Example:  cxr-edge devices wheels --platform manylinux_2_28_aarch64 --python-version 3.11 --out wheels
    """
    from toolkit.devices.wheels import Wanted, gather

    found = gather(Wanted(platform, versions or ("3.11",), constraint), out)
    size = sum(wheel.stat().st_size for wheel in found) / 1e6
    click.echo(f"{out}: {len(found)} wheels for {platform}, {size:.1f} MB.")


def _spec(runs: int, threads: tuple[int, ...]) -> BenchmarkSpec:
    return BenchmarkSpec(runs=runs, warmup=max(1, min(50, runs // 10)), threads=threads or (1, 2, 4), cold_starts=3)


def _devices(addresses: tuple[str, ...], fleet: Path | None) -> tuple[Device, ...]:
    from toolkit.devices.address import name_of
    from toolkit.devices.fleet import Device, read_fleet

    given = tuple(Device(name=name_of(address), address=address) for address in dict.fromkeys(addresses))
    listed = read_fleet(fleet) if fleet else ()
    found = (*given, *listed)
    if not found:
        raise InputError("No device was named; give --device ssh://user@host or --fleet recipes/devices.yaml.")
    names = [device.name for device in found]
    if len(set(names)) < len(names):
        raise InputError(f"Two devices have the same name among {', '.join(names)}; name one in the list of devices.")
    return found


def _shown(result: FleetResult) -> str:
    head = ("device", "processor", "artifact", "threads", "p50 ms", "file-to-logit ms", "peak MB", "recall loss pt", "drift")
    return table(head, [line for report in result.devices for line in _lines(report)])


def _lines(report: DeviceReport) -> list[list[str]]:
    """A row for each artifact, at its fastest number of threads, one film at a time."""
    drift = {row.artifact: row for row in report.drift.rows} if report.drift else {}
    lines = []
    for name in dict.fromkeys(row.artifact for row in report.latency.rows):
        single = [row for row in report.latency.rows if row.artifact == name and row.scenario == "single_stream"]
        best = min(single, key=lambda row: row.p50_ms, default=None)
        judged = drift.get(name)
        lines.append(
            [
                report.device,
                report.latency.host.processor,
                name,
                str(best.threads) if best else "-",
                number(best.p50_ms if best else None, 2),
                number(best.end_to_end_p50_ms if best else None, 2),
                number(best.peak_rss_mb if best else None, 0),
                number(judged.recall_loss_pt if judged else None, 2),
                judged.verdict if judged else "-",
            ]
        )
    return lines


def _end(ctx: click.Context, result: FleetResult, options: Options) -> None:
    """Name what went wrong, on standard error, and end with its code."""
    for report in result.devices:
        for sentence in report.problems:
            click.echo(f"{report.device}: {sentence}", err=True)
        for skipped in report.latency.skipped:
            click.echo(f"{report.device}: {skipped.artifact} was not measured: {skipped.reason}", err=True)
        for name, reason in report.unusable.items():
            click.echo(f"{report.device}: {name}: {reason}", err=True)
        for row in report.drift.rows if report.drift else ():
            if row.verdict == "fail":
                click.echo(f"{report.device}: {row.artifact} fails: {row.reason['verdict']}.", err=True)
    for name, reason in result.failed.items():
        click.echo(f"{name} FAILED: {reason}", err=True)
    missing = options.films is not None and any(report.drift is None for report in result.devices)
    if not result.devices or missing or any(report.drift and report.drift.verdict == "fail" for report in result.devices):
        ctx.exit(FAILED)
    if result.failed or any(report.unusable or report.latency.skipped for report in result.devices):
        ctx.exit(SOME_UNUSABLE)
