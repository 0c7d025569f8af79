"""The command `cxr-edge`: finds the verb, shows progress and errors, ends with the promised exit code."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterable
from typing import Any

import click

from toolkit import __version__
from toolkit.core import progress
from toolkit.core.text import printable
from toolkit.errors import CxrEdgeError

VERBS = {
    "compress": "the whole flow: train, prune, quantize, export, validate, benchmark",
    "train": "train the dense network",
    "prune": "take weights or channels out and let the rest recover",
    "quantize": "lower to one float graph and make int8 graphs",
    "export": "write and check the artifacts; build engines on the device",
    "evaluate": "metrics of an artifact on labelled films",
    "explain": "what a trained network looks at: curves, heat maps, wrong calls",
    "drift": "what compression cost, in missed patients; the gate",
    "benchmark": "latency of each artifact on this machine",
    "devices": "measure a bundle on other machines: over SSH, or by a USB stick",
    "report": "machines compared: what to use on each, and why",
    "predict": "judge films: the on-device command",
    "serve": "judge films that software or a browser on this machine sends",
    "bundle": "verify a bundle, show what is inside",
    "data": "check a data set, draw synthetic films",
    "doctor": "what this machine can run, and why not",
}
STAGE_VERBS = ("train", "quantize")


class Verbs(click.Group):
    """Imports a verb's file only when that verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order of the flow."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, or None for an unknown one."""
        if cmd_name not in VERBS:
            return None
        file = "stage" if cmd_name in STAGE_VERBS else cmd_name
        command: click.Command = getattr(importlib.import_module(f"toolkit.cli.{file}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs, from the table: no verb is imported for it."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cxr-edge")
def cli() -> None:
    """From a folder of chest X-rays to a small, verified model on the machine that a clinic has.

    \b
    Try it without any films:   cxr-edge compress recipes/demo.yaml --out runs/demo
    Use a sealed model:         cxr-edge predict exported/szanet FILM.jpeg

    Exit codes: 0 done; 1 a gate or verification failed; 2 wrong usage, recipe or input; 3 done, but some inputs could not be
    used. --debug anywhere shows the traceback of an error.
    """


def run(arguments: list[str] | None = None) -> None:
    """Entry point of the console script."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    _show_progress()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # odd metadata; a picture that cannot be read is named all the same
    try:
        cli.main([word for word in words if word != "--debug"], prog_name="cxr-edge")
    except CxrEdgeError as error:
        if debug:
            raise
        click.echo(printable(f"Error: {error}"), err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_progress() -> None:
    """Bars and stage messages on standard error, when somebody is there to see them."""
    if sys.stderr.isatty():
        progress.show_with(_bar)
        logging.basicConfig(format="%(message)s", stream=sys.stderr)
        logging.getLogger("toolkit").setLevel(logging.INFO)


def _bar(items: Iterable[Any], total: int, label: str) -> Iterable[Any]:
    with click.progressbar(items, length=total, label=label, file=sys.stderr) as shown:
        yield from shown
