"""`cxr-edge train | quantize`: one stage of a run; `export` is another, in its own file."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.options import recipe_options
from toolkit.core import ranks
from toolkit.core.recipe import read_recipe
from toolkit.pipeline import Run, run_stages

redo_option = click.option("--redo", is_flag=True, help="Make it and all that follows anew, although it is there already.")


def _stage(name: str, does: str, leaves: str) -> click.Command:
    @click.command(name, short_help=does, help=stage_help(name, does, leaves))
    @recipe_options
    @redo_option
    def command(recipe: Path, data: Path | None, out: Path, overrides: tuple[str, ...], redo: bool) -> None:
        run_stage(name, leaves, Run(read_recipe(recipe, overrides), data, out), redo)

    return command


def run_stage(name: str, leaves: str, run: Run, redo: bool) -> None:
    """Run one stage and say what it left."""
    if redo and ranks.is_first():
        run.forget(name)
    run_stages(run, name, name)
    if ranks.is_first():
        click.echo(f"{name}: {leaves.format(folder=run.folder(name))}")


def stage_help(name: str, does: str, leaves: str) -> str:
    """The text that --help shows of a stage."""
    return (
        f"{does}\n\nLeaves {leaves.format(folder=f'RUN/{name}')}. Continues from what the stage before left in RUN, and says so when "
        f"that is missing.\n\n\b\nExample:  cxr-edge {name} recipes/szanet.yaml --data chest_xray --out runs/szanet"
    )


CHECKPOINT = "{folder}/checkpoint.json, weights.safetensors and history.csv"

train = _stage("train", "Train the dense network; a stopped run resumes at its last epoch.", CHECKPOINT)
quantize = _stage(
    "quantize", "Lower to one float ONNX graph and make an int8 graph for each runtime.", "{folder}/float.onnx and the int8 graphs"
)
