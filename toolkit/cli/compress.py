"""`cxr-edge compress`: the whole flow."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.options import number, recipe_options, table
from toolkit.core.recipe import STAGES, read_recipe
from toolkit.core.reports import RunReport
from toolkit.errors import GateError
from toolkit.pipeline import Run, run_stages


@click.command()
@recipe_options
@click.option("--redo", type=click.Choice(STAGES), help="Make this stage and all that follow it anew.")
def compress(recipe: Path, data: Path | None, out: Path, overrides: tuple[str, ...], redo: str | None) -> None:
    """Run the whole flow of RECIPE; leaves RUN/bundle, RUN/report.html and RUN/report.json.

    A run that was stopped goes on where it was when the same command is given again. Exit code 1 when no artifact passes its
    recall gate.

    \b
    Example:  cxr-edge compress recipes/szanet.yaml --data chest_xray --out runs/szanet
    """
    run = Run(read_recipe(recipe, overrides), data, out)
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
