"""`cxr-edge predict`: the on-device command."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import IO, Any

import click
from click.core import ParameterSource

from toolkit.cli.options import SOME_UNUSABLE, artifact_option, bundle_argument, cache_option, engine_option
from toolkit.core.bundle import Bundle, Manifest
from toolkit.core.files import text_written_whole
from toolkit.core.text import printable
from toolkit.errors import ImageError
from toolkit.infer.predictor import Judged, Predictor, Wanted, pictures_below
from toolkit.infer.results import CsvTable, HeatMaps, JsonLines, SecondaryCaptures, Sidecars, Sink

STANDARD = "-"
CHUNK_BYTES = 65_536
WITH_SHARDS = {"shard_size": "--shard-size", "form": "--format", "engine": "--engine"}
NOT_WITH_SHARDS = ("json_file", "csv_file", "sidecar", "heatmap", "secondary_capture", "log_file", "threads")


@click.command()
@bundle_argument
@click.argument("paths", nargs=-1, metavar="PATH...")
@artifact_option
@click.option("--json", "json_file", metavar="FILE", help="Write one JSON object a line ('-' for standard output).")
@click.option("--csv", "csv_file", metavar="FILE", help="Write a CSV table ('-' for standard output).")
@click.option("--sidecar", is_flag=True, help="Write NAME.cxr-edge.json beside each film.")
@click.option(
    "--heatmap",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write each film with its heat map as a PNG. Where the model has none: 50 inferences a film.",
)
@click.option(
    "--secondary-capture",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the same of each DICOM film as a DICOM Secondary Capture of its study, with the decision (extra: dicom).",
)
@click.option(
    "--log",
    "log_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Append a line a film, without names, that survives a power cut.",
)
@click.option(
    "--watch",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Judge each film that is dropped into DIR, until stopped; implies --sidecar.",
)
@click.option(
    "--shards",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="For archives: write the results of each --shard-size films to a file in DIR; the same command goes on where it was stopped.",
)
@click.option("--shard-size", type=click.IntRange(1), default=1000, show_default=True, metavar="FILMS", help="With --shards.")
@click.option("--format", "form", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True, help="With --shards.")
@engine_option("With --shards")
@cache_option
@click.option(
    "--threads", type=click.IntRange(1), help="The model's processor threads [default: the runtime's choice for one film, 1 for several]."
)
@click.option("--workers", type=click.IntRange(1), help="Films that are judged at once [default: one a core].")
@click.pass_context
def predict(ctx: click.Context, /, bundle_path: Path, paths: tuple[str, ...], **options: Any) -> None:
    """Judge films with BUNDLE. PATH is a picture, a folder, '-' for a list of paths on standard input, or with --shards also s3://BUCKET/PREFIX.

    NORMAL or PNEUMONIA at the model's threshold, UNCERTAIN where the model's band says that it may well be wrong, REJECTED for what
    cannot be read or is no usable film. A file that cannot be used is named, the rest goes on, and the exit code is 3. A screening aid,
    no diagnosis.

    \b
    Example:  cxr-edge predict exported/szanet film.jpeg folder/ --csv results.csv --heatmap maps
              cxr-edge predict exported/szanet archive/ --shards results --engine ray
    """
    if bool(paths) == bool(options["watch"]):
        raise click.UsageError("Give one PATH or more, or --watch DIR.")
    bundle = Bundle(bundle_path)
    _warn_of_synthetic(bundle)
    if options["shards"]:
        _end(ctx, _archive(bundle, paths, options))
        return
    if given := [flag for name, flag in WITH_SHARDS.items() if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]:
        raise click.UsageError(f"For archives alone: {', '.join(given)}; add --shards DIR.")
    alone = _is_one_film(paths)
    threads, options["workers"] = options["threads"] or (None if alone else 1), options["workers"] or (1 if alone else None)
    predictor = Predictor(bundle, options["artifact"], threads, options["cache"])
    with ExitStack() as stack:
        outputs = _Outputs(stack, options, bundle.manifest)
        unusable = outputs.judge(predictor, *_work(stack, _films(paths), options))
    _end(ctx, unusable)


def _warn_of_synthetic(bundle: Bundle) -> None:
    if bundle.manifest.provenance.synthetic:
        click.echo("This bundle was trained on SYNTHETIC films: what it says of a patient's film means nothing.", err=True)


def _end(ctx: click.Context, unusable: int) -> None:
    if unusable:
        click.echo(f"{unusable} of the inputs could not be used.", err=True)
        ctx.exit(SOME_UNUSABLE)


def _archive(bundle: Bundle, paths: tuple[str, ...], options: dict[str, Any]) -> int:
    other = [f"--{name.removesuffix('_file')}" for name in NOT_WITH_SHARDS if options[name]]
    if other or options["watch"]:
        raise click.UsageError(f"--shards writes files of its own, on one thread a film; leave out {', '.join(other) or '--watch'}.")
    from toolkit.cli.archive import judge_archive, names_of

    return judge_archive(bundle, paths, itertools.chain.from_iterable(names_of(path, _films((path,))) for path in paths), options)


def _films(paths: tuple[str, ...]) -> Iterator[Path]:
    """All films; a list is not read further than is needed."""
    return itertools.chain.from_iterable(_listed() if path == STANDARD else pictures_below(Path(path)) for path in paths)


def _is_one_film(paths: tuple[str, ...]) -> bool:
    return len(paths) == 1 and paths[0] != STANDARD and not Path(paths[0]).is_dir()


def _listed() -> Iterator[Path]:
    """Names on standard input, one a line, in whatever bytes the file system has them. Read without Python's buffer, whose lock a thread
    that waits for the next name would still hold when the command ends."""
    source, rest = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), b""
    while chunk := source.read(CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (Path(os.fsdecode(line)) for line in lines if line)
    if rest:
        yield Path(os.fsdecode(rest))


def _work(stack: ExitStack, films: Iterator[Path], options: dict[str, Any]) -> tuple[Iterable[Path], int | None]:
    """What to judge, and with how many workers: a watched folder's films one by one, so that none waits for the next."""
    if not options["watch"]:
        return films, options["workers"]
    from toolkit.infer.watch import arriving, watched

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stack.enter_context(watched(options["watch"]))
    click.echo(f"Watching {options['watch']}; stop with Ctrl-C.", err=True)
    return arriving(options["watch"], stop.wait), 1


class _Outputs:
    """Everything that is written of each film."""

    def __init__(self, stack: ExitStack, options: dict[str, Any], manifest: Manifest) -> None:
        kinds: dict[str, Callable[[IO[str]], Sink]] = {"json_file": JsonLines, "csv_file": CsvTable}
        files = [options[kind] for kind in kinds if options[kind]]
        if files == [STANDARD, STANDARD]:
            raise click.UsageError("Only one of --json and --csv can go to standard output; give the other a file.")
        if options["watch"] and set(files) - {STANDARD}:
            raise click.UsageError("--watch has no end at which a file could be written: use --json -, or the files beside the films.")
        self._sinks = [make(stack.enter_context(_opened(options[kind]))) for kind, make in kinds.items() if options[kind]]
        self._sidecars = Sidecars() if options["sidecar"] or options["watch"] else None
        self._pictures: list[HeatMaps | SecondaryCaptures] = []
        if options["heatmap"]:
            self._pictures.append(HeatMaps(options["heatmap"], manifest.labels.positive))
        if options["secondary_capture"]:
            self._pictures.append(SecondaryCaptures(options["secondary_capture"], manifest.labels, manifest.name))
        if self._sidecars:
            self._sinks.append(self._sidecars)
        if options["log_file"]:
            from toolkit.infer.audit import AuditLog

            self._sinks.append(AuditLog(options["log_file"]))
        if STANDARD not in files:
            self._sinks.append(_People(sys.stdout))
        self._wanted = Wanted(heat=bool(self._pictures), sha256=bool(self._sidecars or options["log_file"]))

    def judge(self, predictor: Predictor, films: Iterable[Path], workers: int | None) -> int:
        """Write all; how many could not be used, each of which is named on standard error as it comes."""
        unusable = 0
        noted = self._sidecars.noting(films) if self._sidecars else films
        for found in predictor.judge(noted, workers, self._wanted):
            judged, problem = self._with_pictures(found)
            for sink in self._sinks:
                sink.write(judged)
            if problem:
                unusable += 1
                click.echo(f"{printable(judged.prediction.path)}: {problem}", err=True)
        return unusable

    def _with_pictures(self, judged: Judged) -> tuple[Judged, str | None]:
        """The same, with where its pictures were written; what of the film could not be used."""
        try:
            for pictures in self._pictures:
                judged = pictures.add(judged)
        except ImageError as cause:
            return judged, f"was judged, but has no Secondary Capture: it {cause}"
        return judged, judged.prediction.error


def _opened(target: str) -> AbstractContextManager[IO[str]]:
    return nullcontext(sys.stdout) if target == STANDARD else text_written_whole(Path(target))


class _People:
    """A line a film: decision, probability, file."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, judged: Judged) -> None:
        said = judged.prediction
        shown = "     -" if said.probability is None else f"{said.probability:6.3f}"
        self._stream.write(f"{said.decision:<10} {shown}  {printable(said.path)}\n")
        self._stream.flush()
