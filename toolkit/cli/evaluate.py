"""`cxr-edge evaluate`: metrics on a labelled folder."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.options import artifact_option, bundle_argument, data_option, json_option, name_unusable, number, table, write_json
from toolkit.core.bundle import Bundle
from toolkit.core.evaluation import Evaluation, OutsideBand
from toolkit.core.metrics import Confusion
from toolkit.data.films import prepare_films
from toolkit.data.sources import read_source
from toolkit.data.splits import labelled_films
from toolkit.errors import InputError
from toolkit.infer.predictor import choose_artifact
from toolkit.pipeline import workshop

CHECKPOINT = "checkpoint.json"
SHOWN = ("accuracy", "recall", "specificity", "precision", "f1", "balanced_accuracy", "roc_auc")


@click.command()
@bundle_argument
@data_option
@artifact_option
@json_option
@click.pass_context
def evaluate(ctx: click.Context, bundle_path: Path, data: Path, artifact: str | None, json_file: str | None) -> None:
    """Metrics of an artifact of BUNDLE on labelled films (the test split, or all of a folder without splits). The rates are those of the
    threshold alone, which calls every film; what the band of uncertainty, where there is one, does to them is said below.

    BUNDLE may be the folder of a checkpoint too, such as runs/szanet/train: then torch scores the films (needs the workshop).

    \b
    Example:  cxr-edge evaluate exported/szanet --data chest_xray
    """
    checkpoint = (bundle_path / CHECKPOINT).is_file()
    if checkpoint and artifact:
        raise InputError(f"{bundle_path} is the folder of a checkpoint, which has no artifacts; leave out --artifact.")
    result = workshop("examine").examine(bundle_path, data).evaluation if checkpoint else _of_artifact(bundle_path, data, artifact)
    if json_file != "-":
        click.echo(_shown(result))
    write_json(result, json_file)
    name_unusable(ctx, dict(result.unusable))


def _of_artifact(bundle_path: Path, data: Path, artifact: str | None) -> Evaluation:
    from toolkit.validate.evaluate import artifact_logits, judge

    bundle = Bundle(bundle_path)
    chosen = choose_artifact(bundle, artifact)
    source = read_source(data, bundle.manifest.labels)
    films = prepare_films(source, labelled_films(source), bundle.manifest.preprocessing, "read films")
    return judge(chosen.name, films, artifact_logits(bundle, chosen, films.images), chosen.operating, source.synthetic)


def _shown(result: Evaluation) -> str:
    rows = []
    for name in SHOWN:
        value, bounds = getattr(result, name), result.ci95.get(name)
        interval = f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else ""
        shown = number(value) if value is not None else f"- ({result.reason[name]})"
        rows.append([name, shown, interval, number(result.at_half[name]) if name in result.at_half else ""])
    counts = result.confusion
    mark = "SYNTHETIC films: these figures say nothing about patients.\n" if result.synthetic else ""
    return (
        f"{mark}{result.artifact} on {result.n} films, threshold {result.threshold:.3f}\n"
        + table(("metric", "value", "95 % interval", "at .5"), rows)
        + f"\nconfusion: {counts.tp} true positive, {counts.fp} false positive, {counts.tn} true negative, {counts.fn} false negative"
        + (_band(result.outside_band, counts) if result.outside_band else "")
    )


def _band(found: OutsideBand, counts: Confusion) -> str:
    return (
        f"\nwith the band: {found.unsure} of {counts.n} films are UNCERTAIN, of which the threshold alone would call {found.wrong_unsure} "
        f"wrongly;\nof the others, {found.missed} of {counts.positives} positives are missed, and {found.false_alarms} of "
        f"{counts.negatives} negatives are false alarms"
    )
