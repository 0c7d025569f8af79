"""`cxr-edge report`: a page for each machine that a bundle was measured on, and their comparison."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.options import json_option, name_unusable, write_json
from toolkit.core.bundle import Bundle
from toolkit.core.recipe import ValidateSpec
from toolkit.core.reports import DeviceReport
from toolkit.core.text import printable
from toolkit.report.target_files import INDEX, add, open_run
from toolkit.report.target_pages import write_pages


@click.command()
@click.argument("run_path", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--add", "files", type=click.Path(path_type=Path), metavar="FILE", multiple=True, help="Report of a machine; can be repeated."
)
@json_option
@click.pass_context
def report(ctx: click.Context, run_path: Path, files: tuple[Path, ...], json_file: str | None) -> None:
    """Compare the machines that the bundle of RUN was measured on; leaves RUN/targets/index.html and a page for each machine.

    RUN is what compress wrote, or a sealed bundle with its report.json. FILE is what cxr-edge benchmark --json wrote on another
    machine, or what a device gave back (cxr-edge devices); scores without a verdict are judged by the limit that the bundle was sealed
    with. It is copied to RUN/targets and stays in later comparisons. What an emulator timed is not compared. Exit code 3 when a file in
    RUN/targets cannot be used.

    \b
    Example:  cxr-edge report runs/szanet --add laptop.json --add raspberry-pi.json
    """
    run = open_run(run_path, _judged)
    for source, place, replaced in add(run, files):
        click.echo(f"{source}: {'replaces the earlier report' if replaced else 'added'}, {place}", err=True)
    comparison = write_pages(run)
    if json_file != "-":
        if comparison.synthetic:
            click.echo("SYNTHETIC films: these figures say nothing about patients.\n")
        for target in comparison.targets:
            click.echo(printable(f"{target.device}: {target.line}"))
        click.echo(f"\nReport: {run.targets / f'{INDEX}.html'}")
    write_json(comparison, json_file)
    name_unusable(ctx, dict(comparison.left_out))


def _judged(report: DeviceReport, bundle: Bundle) -> DeviceReport:
    """With the verdict on its scores, by the sealed limit."""
    from toolkit.devices.verdict import judged

    gate = next((artifact.drift for artifact in bundle.manifest.artifacts if artifact.drift), None)
    spec = ValidateSpec(max_recall_loss_pt=gate.limit_pt, mode=gate.mode) if gate else ValidateSpec()
    return judged(report, bundle, spec=spec)
