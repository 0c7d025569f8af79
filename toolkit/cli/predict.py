"""`cxr-edge predict`: the on-device command."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import IO, Protocol

import click
import msgspec

from toolkit.cli.options import artifact_option, bundle_argument, name_unusable
from toolkit.core.bundle import Bundle
from toolkit.core.codec import field_names
from toolkit.core.files import text_written_whole
from toolkit.core.reports import Prediction
from toolkit.infer.predictor import Predictor, pictures_below

STANDARD = "-"


@click.command()
@bundle_argument
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@artifact_option
@click.option("--json", "json_file", metavar="FILE", help="Write one JSON object a line ('-' for standard output).")
@click.option("--csv", "csv_file", metavar="FILE", help="Write a CSV table ('-' for standard output).")
@click.option("--threads", type=click.IntRange(1), help="Processor threads; by default the runtime chooses.")
@click.pass_context
def predict(
    ctx: click.Context,
    bundle_path: Path,
    paths: tuple[str, ...],
    artifact: str | None,
    json_file: str | None,
    csv_file: str | None,
    threads: int | None,
) -> None:
    """Judge films with BUNDLE. PATH is a picture, a folder, or '-' for a list of paths on standard input.

    A file that cannot be used is named, the rest goes on, and the exit code is 3.

    \b
    Example:  cxr-edge predict exported/szanet film.jpeg folder/ --csv results.csv
    """
    bundle = Bundle(bundle_path)
    predictor = Predictor(bundle, artifact, threads)
    if bundle.manifest.provenance.synthetic:
        click.echo("This bundle was trained on SYNTHETIC films: what it says of a patient's film means nothing.", err=True)
    unusable = {}
    with ExitStack() as stack:
        sinks: list[_Sink] = [
            sink(stack.enter_context(_opened(target))) for sink, target in ((_JsonLines, json_file), (_CsvTable, csv_file)) if target
        ]
        if STANDARD not in (json_file, csv_file):
            sinks.append(_People(sys.stdout))
        for prediction in predictor.predict(_files(paths)):
            for sink in sinks:
                sink.write(prediction)
            if prediction.error:
                unusable[prediction.path] = prediction.error
    name_unusable(ctx, unusable)


def _files(paths: tuple[str, ...]) -> Iterator[Path]:
    for path in paths:
        if path == STANDARD:
            yield from (Path(line) for line in (line.rstrip("\n") for line in sys.stdin) if line)
        else:
            yield from pictures_below(Path(path))


def _opened(target: str) -> AbstractContextManager[IO[str]]:
    return nullcontext(sys.stdout) if target == STANDARD else text_written_whole(Path(target))


class _Sink(Protocol):
    """Takes one prediction after another."""

    def write(self, prediction: Prediction) -> None: ...


class _JsonLines:
    """One JSON object a line."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, prediction: Prediction) -> None:
        self.stream.write(msgspec.json.encode(prediction).decode() + "\n")


class _CsvTable:
    """A head and one row a film."""

    def __init__(self, stream: IO[str]) -> None:
        self.table = csv.writer(stream, lineterminator="\n")
        self.table.writerow(field_names(Prediction))

    def write(self, prediction: Prediction) -> None:
        self.table.writerow(msgspec.structs.astuple(prediction))


class _People:
    """A line a film: decision, probability, file."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, prediction: Prediction) -> None:
        shown = "     -" if prediction.probability is None else f"{prediction.probability:6.3f}"
        self.stream.write(f"{prediction.decision:<10} {shown}  {prediction.path}\n")
