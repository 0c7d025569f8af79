"""`cxr-edge compress`: the whole flow."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolkit.cli.options import LOCAL, engine_option, number, recipe_options, table
from toolkit.core.files import storage_errors
from toolkit.core.locks import held
from toolkit.core.recipe import STAGES, Recipe, read_recipe
from toolkit.core.reports import RunReport
from toolkit.core.text import printable
from toolkit.engine.choose import chosen
from toolkit.errors import GateError
from toolkit.pipeline import Run, run_stages, workshop

if TYPE_CHECKING:
    from toolkit.core.sweeps import SweepReport


@click.command()
@recipe_options
@click.option("--redo", type=click.Choice(STAGES), help="Make this stage and all that follow it anew.")
@engine_option("Of a sweep")
@click.option("--workers", type=click.IntRange(1), help="Of a sweep: cores that are used [default: all].")
def compress(
    recipe: Path, data: Path | None, out: Path, overrides: tuple[str, ...], redo: str | None, engine: str, workers: int | None
) -> None:
    """Run the whole flow of RECIPE; leaves RUN/bundle, RUN/report.html and RUN/report.json.

    A run that was stopped goes on where it was when the same command is given again. Exit code 1 when no artifact passes its
    recall gate. A recipe with a section 'sweep' makes many runs, in RUN/trials, and RUN/sweep.html of what none of them beats.

    \b
    Example:  cxr-edge compress recipes/szanet.yaml --data chest_xray --out runs/szanet
              cxr-edge compress recipes/sweep.yaml --data chest_xray --out runs/sweep --engine ray
    """
    read = read_recipe(recipe, overrides)
    if read.sweep:
        if redo:
            raise click.UsageError("--redo works on one run: give it with a recipe in RUN/trials.")
        _sweep(read, data, out, chosen_engine=(engine, workers))
        return
    if engine != LOCAL or workers:
        raise click.UsageError("--engine and --workers are for recipes with a section 'sweep'; this one makes a single run.")
    run = Run(read, data, out)
    if redo:
        run.forget(redo)
    run_stages(run, STAGES[0], STAGES[-1])
    from toolkit.seal import BUNDLE, REPORT_HTML, seal

    report = seal(run)
    click.echo(_summary(report))
    if not report.reference.tells_apart:
        click.echo("\nWarning: the dense model does not tell the classes apart, so no loss against it means anything.", err=True)
    click.echo(f"\nReport: {out / REPORT_HTML}\nBundle: {out / BUNDLE} ({report.bundle_bytes / 1e6:.1f} MB)")
    if not report.recommended:
        raise GateError("No artifact passed its recall gate; the report shows by how much each one missed it.")
    click.echo(f"Use it: cxr-edge predict {out / BUNDLE} FILM.jpeg   (takes {report.recommended[0]})")


def _sweep(recipe: Recipe, data: Path | None, out: Path, chosen_engine: tuple[str, int | None]) -> None:
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with (
        held(out, f"{out} is being worked in by another sweep; wait for it, or choose another --out."),
        closing(chosen(*chosen_engine)) as engine,
    ):
        report: SweepReport = workshop("sweep").sweep(recipe, data, out, engine)
    points = [(trial, point) for trial in report.trials for point in trial.points if point.pareto]
    rows = [
        (str(trial.number), point.artifact, number(point.bytes / 1e6, 2), number(point.p50_ms), number(point.recall), number(point.roc_auc))
        for trial, point in sorted(points, key=lambda pair: pair[1].bytes)
    ]
    if report.synthetic:
        click.echo("SYNTHETIC films: these figures say nothing about patients.\n")
    click.echo(table(("run", "artifact", "MB", "ms", "recall, held-out", "AUC"), rows))
    states = Counter(trial.state for trial in report.trials)
    click.echo(f"\n{len(report.trials)} runs, {states['hopeless']} given up, {states['failed']} failed. Report: {out / 'sweep.html'}")
    for trial in report.trials:
        if trial.state == "failed":
            click.echo(f"run {trial.number}: {printable(trial.reason)}", err=True)
    if not points:
        raise GateError("No run has an artifact that passed its recall gate; the reports of the runs show by how much each one missed it.")


def _summary(report: RunReport) -> str:
    drift = {row.artifact: row for row in report.drift.rows}
    rows = []
    for metrics in (report.reference, *report.evaluations):
        row = drift.get(metrics.artifact)
        values = [number(getattr(metrics, name)) for name in ("accuracy", "recall", "specificity", "roc_auc")]
        rows.append([metrics.artifact, *values, number(row.recall_loss_pt if row else None, 2), row.verdict if row else ""])
    head = ("artifact", "accuracy", "recall", "specificity", "AUC", "recall loss pt", "gate")
    notes = "".join(f"\n{name}: {reason}" for name, reason in (*report.left_out.items(), *report.unmeasured.items()))
    mark = "SYNTHETIC films: these figures say nothing about patients.\n\n" if report.synthetic else ""
    return mark + table(head, rows) + notes
