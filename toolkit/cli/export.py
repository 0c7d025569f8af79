"""`cxr-edge export`: the stage of a run, or the engines of a bundle on the device that is to run them."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.options import recipe_options
from toolkit.cli.stage import redo_option, run_stage, stage_help
from toolkit.core.bundle import Bundle
from toolkit.core.recipe import read_recipe
from toolkit.errors import InputError
from toolkit.pipeline import Run

DOES = "Write the artifacts, each checked against torch on held-out films."
LEAVES = "{folder}, a bundle whose gate has not run yet"
ON_DEVICE = """

With --on-device: build the TensorRT engines of BUNDLE for the GPU of this machine, from the graphs that it carries. They are not
recommended; `cxr-edge drift` checks what they answer.

\b
Example:  cxr-edge export --on-device runs/szanet/bundle --artifact tensorrt-rtx-fp16"""


@click.command(short_help=DOES, help=stage_help("export", DOES, LEAVES) + ON_DEVICE)
@recipe_options
@redo_option
@click.option("--on-device", is_flag=True, help="Build engines in a bundle, given in place of RECIPE.")
@click.option("--artifact", metavar="NAME", help="With --on-device: this one [default: all whose library is here].")
def export(
    recipe: Path, data: Path | None, out: Path | None, overrides: tuple[str, ...], redo: bool, on_device: bool, artifact: str | None
) -> None:
    """The text above, with both forms."""
    if on_device:
        given = {"--data": data, "--out": out, "--set": overrides, "--redo": redo}
        strangers = [name for name, value in given.items() if value]
        if strangers:
            raise InputError(f"--on-device works in a finished bundle and takes no {', '.join(strangers)}.")
        _build_engines(Bundle(recipe), artifact)
        return
    if artifact is not None:
        raise InputError("--artifact goes with --on-device; what a run exports stands in its recipe, as export.artifacts.")
    if out is None:
        raise InputError("A run needs a folder to work in: add --out RUN, or --on-device to build the engines of a bundle.")
    run_stage("export", LEAVES, Run(read_recipe(recipe, overrides), data, out), redo)


for option in export.params:
    if option.name == "out":
        option.required = False  # a bundle is its own place
    if option.name == "recipe":
        option.metavar = "RECIPE|BUNDLE"


def _build_engines(bundle: Bundle, artifact: str | None) -> None:
    from toolkit.export.on_device import UNCHECKED, build_on_device

    manifest = build_on_device(bundle, artifact)
    built = (one for one in manifest.artifacts if artifact in (None, one.name) and manifest.unmeasured.get(one.name) == UNCHECKED)
    for one in built:
        click.echo(f"{one.name}: {bundle.folder / one.files[0].path}, {one.files[0].bytes / 1e6:.2f} MB; {UNCHECKED}")
