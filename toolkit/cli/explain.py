"""`cxr-edge explain`: what a trained network looks at."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.options import data_option, name_unusable
from toolkit.pipeline import workshop


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@data_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the page and the pictures [default: CHECKPOINT/explain].")
@click.option("--films", "count", type=click.IntRange(min=0), default=12, show_default=True, help="Films to draw maps of.")
@click.pass_context
def explain(ctx: click.Context, checkpoint: Path, data: Path, out: Path | None, count: int) -> None:
    """Curves, confusion, features (PCA, t-SNE), wrong calls and heat maps of the network in the folder CHECKPOINT.

    Maps: activation, Grad-CAM and guided Grad-CAM, of wrong calls first. The films are the test split, or all of a folder without splits.

    \b
    Example:  cxr-edge explain runs/szanet/train --data chest_xray --out runs/szanet/explain
    """
    examine = workshop("examine")
    found = examine.examine(checkpoint, data)
    page = examine.explain(found, out or checkpoint / "explain", count)
    wrong = found.evaluation.confusion.fp + found.evaluation.confusion.fn
    click.echo(f"explain: {page}   ({len(found.films)} films, {wrong} called wrongly)")
    name_unusable(ctx, dict(found.evaluation.unusable))
