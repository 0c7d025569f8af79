"""`cxr-edge drift`: the gate."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Literal

import click

from toolkit.cli.options import (
    LOCAL,
    bundle_argument,
    data_option,
    engine_option,
    json_option,
    name_unusable,
    number,
    percent,
    table,
    write_json,
)
from toolkit.core.bundle import Bundle
from toolkit.core.drift import DriftReport, DriftRow
from toolkit.core.recipe import ValidateSpec
from toolkit.data.sources import read_source
from toolkit.engine.choose import chosen

GATE_FAILED = 1
GROUPS_SHOWN = 3


@click.command()
@bundle_argument
@data_option
@click.option("--against", type=click.Path(path_type=Path), metavar="BUNDLE", help="Compare with the best artifact of this bundle instead.")
@click.option("--max-recall-loss", type=percent, default=1.0, show_default=True, metavar="PT", help="Limit, in points of recall.")
@click.option("--max-specificity-loss", type=percent, metavar="PT", help="Limit, in points of specificity [default: none].")
@click.option(
    "--mode",
    type=click.Choice(["observed", "proven"]),
    default="observed",
    show_default=True,
    help="What is held against the limit: the loss seen, or its upper bound.",
)
@click.option(
    "--groups", type=click.Path(path_type=Path), metavar="CSV", help="Groups of films to judge apart: a column of names, then groups."
)
@click.option("--group-column", "columns", multiple=True, metavar="NAME", help="Take this column of groups alone; can be repeated.")
@click.option(
    "--corruptions",
    is_flag=True,
    help="Corrupt some of the films too, and tell whether an artifact falls off faster than the dense network.",
)
@click.option(
    "--decode",
    is_flag=True,
    help="Write some of the films as PNG, JPEG, 16 bits and DICOM too, and tell whether they get the same scores.",
)
@engine_option("For many films")
@json_option
@click.pass_context
def drift(
    ctx: click.Context,
    bundle_path: Path,
    data: Path,
    against: Path | None,
    max_recall_loss: float,
    max_specificity_loss: float | None,
    mode: Literal["observed", "proven"],
    groups: Path | None,
    columns: tuple[str, ...],
    corruptions: bool,
    decode: bool,
    engine: str,
    json_file: str | None,
) -> None:
    """Hold every artifact of BUNDLE against the dense reference on the same films. Exit code 1 when one of them fails.

    An artifact fails when it loses too much recall, in all films or beyond chance in a group of them, when it no longer tells the
    classes apart, or when it does not answer as it did when it was sealed. docs/drift.md explains the verdicts.

    \b
    Example:  cxr-edge drift exported/szanet --data chest_xray --max-recall-loss 1
    """
    from toolkit.validate.drift import remarks
    from toolkit.validate.gate import Question, judge_bundle

    bundle = Bundle(bundle_path)
    spec = ValidateSpec(max_recall_loss_pt=max_recall_loss, mode=mode, max_specificity_loss_pt=max_specificity_loss)
    question = Question(spec, against, groups, columns, corruptions, decode)
    source = read_source(data, bundle.manifest.labels)
    with closing(chosen(engine)) as place:
        report = judge_bundle(bundle, source, question, None if engine == LOCAL else place)
    if json_file != "-":
        click.echo(_shown(report, max_recall_loss, mode))
    for sentence in remarks(report):
        click.echo(sentence, err=True)
    write_json(report, json_file)
    if report.verdict == "fail":
        ctx.exit(GATE_FAILED)
    name_unusable(ctx, dict(report.unusable))


def _shown(report: DriftReport, limit: float, mode: str) -> str:
    rows = [
        [
            row.artifact,
            number(row.recall),
            number(row.recall_loss_pt, 2),
            number(row.recall_loss_upper95_pt, 2),
            str(row.lost_positives),
            str(row.gained_positives),
            number(row.specificity_loss_pt, 2),
            "-" if row.mcnemar_p is None else f"{row.mcnemar_p:.2g}",
            row.verdict,
        ]
        for row in report.rows
    ]
    head = ("artifact", "recall", "loss pt", "at most pt", "lost", "gained", "specificity loss pt", "McNemar p", "verdict")
    mark = "SYNTHETIC films: these figures say nothing about patients.\n" if report.synthetic else ""
    title = f"{mark}Against {report.reference} on {report.n} films, {report.positives} of them positive; limit {limit:g} points {mode}"
    parts = [
        f"{title}\n{table(head, rows)}",
        *(_groups(row) for row in report.rows if row.verdict == "fail"),
        _allowed(report),
        _robust(report),
        _decoded(report),
    ]
    return "\n\n".join(part for part in parts if part)


def _groups(row: DriftRow) -> str:
    """Why a row fails, and its worst groups."""
    rows = [
        [
            name,
            str(group.positives),
            str(group.lost_positives),
            str(group.gained_positives),
            number(group.recall_loss_pt, 2),
            number(group.specificity_loss_pt, 2),
            group.verdict,
            group.warning,
        ]
        for name, group in list(row.subgroups.items())[:GROUPS_SHOWN]
    ]
    head = ("worst groups", "positives", "lost", "gained", "loss pt", "specificity loss pt", "verdict", "")
    return f"{row.artifact} fails: {row.reason['verdict']}.\n" + (table(head, rows) if rows else "")


def _allowed(report: DriftReport) -> str:
    """What the limits mean on so many films."""
    rows = [
        [
            f"{one.limit_pt:g}",
            str(one.lost_observed),
            "-" if one.lost_proven is None else str(one.lost_proven),
            str(one.positives_needed),
            str(one.films_needed),
        ]
        for one in report.allowed
    ]
    head = ("limit pt", "lost, net: observed", "lost: proven", "positives that prove it with none lost", "films like these")
    return table(head, rows)


def _robust(report: DriftReport) -> str:
    """How much more than the reference each artifact falls off."""
    found = report.robustness
    if found is None:
        return ""
    kinds = list(dict.fromkeys(curve.corruption for curve in found.curves))
    names = list(dict.fromkeys(curve.artifact for curve in found.curves))
    area = {(curve.artifact, curve.corruption): curve.auc_area_pt for curve in found.curves}
    rows = [[name, *(number(area[name, kind], 2) for kind in kinds)] for name in names]
    title = f"AUC points lost to worse films beyond the reference's loss, mean over severities 0 to 5 ({found.films} films)"
    return f"{title}\n{table(('artifact', *kinds), rows)}"


def _decoded(report: DriftReport) -> str:
    """What writing films in other forms does to their scores."""
    found = report.decode
    if found is None:
        return ""
    rows = [
        [
            row.form,
            "-" if row.identical is None else str(row.identical),
            number(row.mean_logit),
            number(row.largest_logit),
            f"{row.limit_mean_logit:g}, {row.limit_largest_logit:g}",
            str(len(row.changed)),
            row.verdict,
        ]
        for row in found.rows
    ]
    head = ("form", "identical", "mean logit", "largest", "limits", "decisions changed", "verdict")
    return f"{found.films} films in other forms, by {found.artifact}: differences from the film as it came\n{table(head, rows)}"
