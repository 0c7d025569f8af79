"""Archives on a cluster: is every film there when a machine is lost, what does the engine cost, and does a second core double the speed?

    python -m benchmarks.archive_scale BUNDLE FILMS

FILMS are linked again and again. Loss: LOST films on a cluster of two machines (a raylet and a core each) of which one is killed in the
middle, against the local run, row by row. Overhead: the same films by `--engine local` and by `--engine ray` on all cores of this machine,
whole commands, at FEW and MANY films. Scaling: SCALED films by one and two workers, each pinned to a core. Prints, and keeps in
docs/results/archive_scale.json; exit code 1 when a row differs or is missing. Wants a machine that does nothing else.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.ray_cluster import cluster, environment
from toolkit.benchmark.host import describe_host
from toolkit.cli.options import table
from toolkit.core.codec import Frozen, encode_json
from toolkit.core.files import write_atomically

OUT = Path(__file__).parent.parent / "docs" / "results" / "archive_scale.json"
LOST, FEW, SCALED, MANY = 20_000, 1_000, 5_000, 20_000
SHARD = 250
SUFFIXES = (".jpeg", ".jpg", ".png")
UNUSABLE = 3


class Run(Frozen, frozen=True, kw_only=True):
    """A whole command. `cores`: pinned to so many."""

    what: str
    engine: str
    films: int
    cores: int
    seconds: float


class Found(Frozen, frozen=True, kw_only=True):
    """`lost_after`: shards, of `shards`, that were there when the machine was killed. `differing`: rows that are not the local ones."""

    bundle: str
    processor: str
    lost_after: int
    shards: int
    rows: int
    differing: int
    runs: tuple[Run, ...]


class Archive:
    """Films, linked to as many names as are wanted, and the command on them."""

    def __init__(self, bundle: Path, films: Path, place: Path) -> None:
        self._bundle, self._place = bundle.resolve(), place
        self._sources = sorted(path.resolve() for path in films.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not self._sources:
            sys.exit(f"No films below {films}.")

    def names(self, count: int) -> str:
        """A list, one name a line."""
        folder = self._place / f"films-{count}"
        if not folder.is_dir():
            folder.mkdir()
            for number in range(count):
                source = self._sources[number % len(self._sources)]
                (folder / f"{number:06d}{source.suffix}").symlink_to(source)
        return "\n".join(map(str, sorted(folder.iterdir())))

    def command(self, out: Path, engine: str, workers: int | None = None) -> list[str]:
        """`predict --shards`."""
        places = ["--shards", str(out), "--shard-size", str(SHARD), "--engine", engine]
        cores = ["--workers", str(workers)] if workers else []
        return [sys.executable, "-m", "toolkit.cli", "predict", str(self._bundle), "-", *places, *cores]

    def seconds(self, count: int, engine: str, cores: int) -> float:
        """A whole command, pinned to so many cores."""
        with TemporaryDirectory(dir=self._place) as out:
            names, pin = self.names(count), ["taskset", "-c", ",".join(map(str, range(cores)))]
            started = time.perf_counter()
            done = subprocess.run(
                [*pin, *self.command(Path(out), engine, cores)],
                input=names,
                text=True,
                env=environment(),
                stdout=subprocess.DEVNULL,
                check=False,
            )
            taken = time.perf_counter() - started
        if done.returncode not in (0, UNUSABLE):
            sys.exit(f"The command ended with {done.returncode}.")
        return taken


def rows(out: Path) -> Iterator[tuple[str, ...]]:
    """Without the time that each film took."""
    for file in sorted((out / "results").iterdir()):
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                yield tuple(cell for key, cell in row.items() if key != "ms")


def lose_a_machine(archive: Archive, place: Path) -> tuple[int, int, int]:
    """Shards that were there when the machine was killed, rows in the end, and how many differ from the local ones."""
    near, far = place / "near", place / "far"
    names = archive.names(LOST)
    subprocess.run(archive.command(near, "local"), input=names, text=True, stdout=subprocess.DEVNULL, check=False)
    with cluster(1) as machines:
        other = machines.add_node(num_cpus=1, object_store_memory=100_000_000)
        (place / "names").write_text(names, encoding="utf-8")
        with (place / "names").open(encoding="utf-8") as listed:
            command = archive.command(far, f"ray://{machines.address}")
            run = subprocess.Popen(command, stdin=listed, env=environment(), stdout=subprocess.DEVNULL)
            while len(list(far.glob("results/*.csv"))) < LOST // SHARD // 2:
                if run.poll() is not None:
                    sys.exit("The run ended before a machine was lost.")
                time.sleep(0.1)
            machines.remove_node(other, allow_graceful=False)
            there = len(list(far.glob("results/*.csv")))
            run.wait()
    mine, theirs = list(rows(far)), list(rows(near))
    return there, len(mine), sum(a != b for a, b in zip(mine, theirs, strict=False)) + abs(len(mine) - len(theirs))


def main() -> None:
    """Measure, print, keep."""
    cores = os.cpu_count() or 1
    with TemporaryDirectory() as folder:
        place = Path(folder)
        archive = Archive(Path(sys.argv[1]), Path(sys.argv[2]), place)
        there, count, differing = lose_a_machine(archive, place)
        plans = [("overhead", engine, films, cores) for films in (FEW, MANY) for engine in ("local", "ray")]
        plans += [("scaling", engine, SCALED, number) for engine in ("local", "ray") for number in (1, 2)]
        runs = tuple(
            Run(what=what, engine=engine, films=films, cores=number, seconds=archive.seconds(films, engine, number))
            for what, engine, films, number in plans
        )
    found = Found(
        bundle=Path(sys.argv[1]).name,
        processor=describe_host().processor,
        lost_after=there,
        shards=LOST // SHARD,
        rows=count,
        differing=differing,
        runs=runs,
    )
    write_atomically(OUT, encode_json(found))
    print(f"{count} rows, {differing} of them other than local; the machine was lost after {there} of {found.shards} shards\n")
    cells = [(run.what, run.engine, str(run.films), str(run.cores), f"{run.seconds:.1f}", f"{run.films / run.seconds:.0f}") for run in runs]
    print(table(("what", "engine", "films", "cores", "seconds", "films a second"), cells))
    if differing or count != LOST:
        sys.exit(1)


if __name__ == "__main__":
    main()
