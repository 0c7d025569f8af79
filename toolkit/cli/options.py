"""Options that several verbs share, and how results are written."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from toolkit.core.codec import encode_json
from toolkit.core.files import write_atomically
from toolkit.core.text import printable

F = TypeVar("F", bound=Callable[..., Any])
SOME_UNUSABLE = 3
NO_CACHE = "none"
LOCAL = "local"  # the engine
NUMBER = re.compile(r"-|(-?\d+(\.\d+)?(e-?\d+)?)?")


class Points(click.FloatRange):
    """A number of percentage points; NaN, which no range of click's refuses, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """From the command line's text."""
        points = float(super().convert(value, param, ctx))
        if math.isnan(points):
            self.fail(f"{value!r} is not a number of points.", param, ctx)
        return points


percent = Points(0, 100)

bundle_argument = click.argument("bundle_path", metavar="BUNDLE", type=click.Path(path_type=Path))
data_option = click.option("--data", "data", type=click.Path(path_type=Path), required=True, help="Folder, .zip or .npz of films.")
artifact_option = click.option("--artifact", metavar="NAME", help="Use this one [default: the fastest that passed its gate].")
json_option = click.option("--json", "json_file", metavar="FILE", help="Write the result as JSON ('-' for standard output).")


def kept_in(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:  # noqa: ARG001
    """The folder that --cache names."""
    from toolkit.infer.cache import usual_folder

    return None if value == NO_CACHE else Path(value) if value else usual_folder()


cache_option = click.option(
    "--cache",
    metavar="DIR",
    callback=kept_in,
    help=f"Folder in which OpenVINO keeps the compiled model for the next start, or '{NO_CACHE}' [default: ~/.cache/cxr-edge].",
)


def _with_turns(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001
    if value:
        from toolkit.core.turns import take_turns

        take_turns()


def engine_option(where: str) -> Callable[[F], F]:
    """--engine, of a verb that takes it `where` it says."""
    return click.option(
        "--engine",
        default=LOCAL,
        show_default=True,
        metavar="ENGINE",
        help=f"{where}: 'local' for processes here; 'ray', or 'ray://HOST:PORT' for a running Ray cluster (extra: cluster).",
    )


def recipe_options(command: F) -> F:
    """RECIPE --data --out --set --turns, as every stage takes them."""
    path = click.Path(path_type=Path)
    for decorate in (
        click.option(
            "--turns",
            is_flag=True,
            expose_value=False,
            callback=_with_turns,
            help="Wait for what others that say so too time on this machine, and time alone.",
        ),
        click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Change one value: train.epochs=3."),
        click.option("--out", type=path, required=True, metavar="RUN", help="Folder that the run works in."),
        click.option("--data", type=path, help="Folder, .zip or .npz of films [default: the recipe's synthetic ones]."),
    ):
        command = decorate(command)
    return click.argument("recipe", type=path)(command)


def write_json(value: Any, target: str | None) -> None:
    """Write `value` where --json says."""
    if target == "-":
        sys.stdout.buffer.write(encode_json(value))
    elif target:
        write_atomically(Path(target), encode_json(value))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns padded to their widest cell; numbers to the right, words to the left."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    right = [all(_is_number(line[column]) for line in lines[1:]) for column in range(len(head))]
    return "\n".join("  ".join(map(_aligned, line, widths, right)).rstrip() for line in lines)


def _aligned(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


def _is_number(cell: str) -> bool:
    return bool(NUMBER.fullmatch(cell))


def number(value: float | None, digits: int = 3) -> str:
    """A number for people; a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def name_unusable(ctx: click.Context, unusable: dict[str, str]) -> None:
    """Name each input that could not be used on standard error and end with code 3 when there is one."""
    for name, reason in unusable.items():
        click.echo(f"{printable(name)}: {reason}", err=True)
    if unusable:
        click.echo(f"{len(unusable)} of the inputs could not be used.", err=True)
        ctx.exit(SOME_UNUSABLE)
