"""`cxr-edge drift`: the gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from toolkit.cli.options import bundle_argument, data_option, json_option, name_unusable, number, table, write_json
from toolkit.core.bundle import Bundle
from toolkit.core.recipe import ValidateSpec
from toolkit.core.reports import DriftReport
from toolkit.data.films import Films, prepare_films
from toolkit.data.sources import read_source
from toolkit.data.splits import labelled_films
from toolkit.errors import EngineError, InputError
from toolkit.infer.machine import why_not
from toolkit.infer.predictor import choose_artifact

if TYPE_CHECKING:
    from toolkit.validate.drift import Scores

GATE_FAILED = 1


@click.command()
@bundle_argument
@data_option
@click.option("--against", type=click.Path(path_type=Path), metavar="BUNDLE", help="Compare with the best artifact of this bundle instead.")
@click.option(
    "--max-recall-loss", type=click.FloatRange(0, 100), default=1.0, show_default=True, metavar="PT", help="Limit, in points of recall."
)
@click.option(
    "--mode",
    type=click.Choice(["observed", "proven"]),
    default="observed",
    show_default=True,
    help="What is held against the limit: the loss seen, or its upper bound.",
)
@json_option
@click.pass_context
def drift(
    ctx: click.Context,
    bundle_path: Path,
    data: Path,
    against: Path | None,
    max_recall_loss: float,
    mode: Literal["observed", "proven"],
    json_file: str | None,
) -> None:
    """Hold every artifact of BUNDLE against the dense reference on the same films. Exit code 1 when one loses too much recall.

    \b
    Example:  cxr-edge drift exported/szanet --data chest_xray --max-recall-loss 1
    """
    from toolkit.validate import drift as room
    from toolkit.validate.evaluate import artifact_logits

    bundle = Bundle(bundle_path)
    source = read_source(data, bundle.manifest.labels)
    films = prepare_films(source, labelled_films(source), bundle.manifest.preprocessing, "read films")
    reference, films = _other(against, films, bundle) if against else room.read_reference(bundle, films)
    spec = ValidateSpec(max_recall_loss_pt=max_recall_loss, mode=mode)
    rows = []
    for artifact in bundle.manifest.artifacts:
        reason = why_not(artifact.target)
        if reason is None:
            try:
                logits = artifact_logits(bundle, artifact, films.images)
            except EngineError as cause:
                reason = str(cause).removesuffix(".")
            else:
                rows.append(room.compare(reference, room.Scores.of(artifact.name, logits, artifact.operating), films, spec))
        if reason:
            click.echo(f"{artifact.name} was not checked: {reason}.", err=True)
    report = room.summarise(reference.name, films, tuple(rows), source.synthetic)
    if json_file != "-":
        click.echo(_shown(report, max_recall_loss, mode))
        for row in report.rows:
            if "verdict" in row.reason:
                click.echo(f"{row.artifact}: {row.reason['verdict']}.")
    write_json(report, json_file)
    if report.verdict == "fail":
        ctx.exit(GATE_FAILED)
    name_unusable(ctx, dict(report.unusable))


def _other(path: Path, films: Films, bundle: Bundle) -> tuple[Scores, Films]:
    from toolkit.validate.drift import Scores
    from toolkit.validate.evaluate import artifact_logits

    other = Bundle(path)
    if other.manifest.preprocessing != bundle.manifest.preprocessing:
        raise InputError(f"{path} prepares its films otherwise than {bundle.folder}; the same pixels cannot serve both.")
    artifact = choose_artifact(other)
    logits = artifact_logits(other, artifact, films.images)
    return Scores.of(f"{other.manifest.name} {artifact.name}", logits, artifact.operating), films


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
    return f"{mark}Against {report.reference} on {report.n} films, limit {limit:g} points {mode}\n{table(head, rows)}"
