"""The folder that an archive's results lie in.

    archive.json        what is asked, of which films, in how many shards; written when all films are listed
    lists/000000        names of a shard's films in their order, each with a NUL behind it
    results/000000.csv  a row a film in the same order, or .parquet; there when the shard is done, whole

A film's row is in the place of its name, so that all results, shard after shard, are in the order of the films.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from toolkit.archive.remote import is_remote
from toolkit.archive.tables import TABLES
from toolkit.core.codec import Frozen, encode_json, field_names, read_json
from toolkit.core.files import storage_errors, write_atomically
from toolkit.core.prediction import Prediction
from toolkit.errors import InputError

ARCHIVE, LISTS, RESULTS = "archive.json", "lists", "results"
SCHEMA_VERSION = 1
END = b"\0"
Form = Literal["csv", "parquet"]


class Asked(Frozen, frozen=True, kw_only=True):
    """What is asked, and of which films; results of two different questions never lie in one folder. `sources`: as they were given."""

    bundle_sha256: str
    artifact: str
    sources: tuple[str, ...]
    shard_size: int
    form: Form


class Archive(Frozen, frozen=True, kw_only=True):
    """`archive.json`."""

    schema_version: int
    asked: Asked
    films: int
    shards: int


class Shard(NamedTuple):
    """Names of films, one after another; the folder that all of them lie below, where there is one."""

    number: int
    names: tuple[str, ...]
    folder: str | None


class Shards:
    """The folder, for one process at a time."""

    def __init__(self, folder: Path, asked: Asked, names: Iterable[str]) -> None:
        """Lists the films, unless that was done before. Raises InputError when the folder holds results of another question, or there is no
        film at all, StorageError."""
        self._folder, self._asked = folder, asked
        self.archive = self._known() or self._listed(names)

    def undone(self) -> Iterator[Shard]:
        """The shards without results, in their order, each read when it is wanted."""
        for number in range(self.archive.shards):
            if not self._result(number).is_file():
                names = self._names(number)
                yield Shard(number, tuple(names), folder_of(names))

    def count_undone(self) -> int:
        """How many shards have no results yet."""
        return sum(not self._result(number).is_file() for number in range(self.archive.shards))

    def write(self, shard: Shard, predictions: Sequence[Prediction]) -> None:
        """A shard's results, a prediction a film in the order of its names."""
        if len(predictions) != len(shard.names):
            raise AssertionError(f"{len(predictions)} results for {len(shard.names)} films of shard {shard.number}")
        write_atomically(self._result(shard.number), TABLES[self._asked.form].written(predictions))

    def decisions(self) -> Counter[str]:
        """How many films got which decision, of all shards that are done."""
        read, found = TABLES[self._asked.form].decisions, Counter[str]()
        for number in range(self.archive.shards):
            found.update(read(self._result(number)))
        return found

    def _known(self) -> Archive | None:
        path = self._folder / ARCHIVE
        if not path.is_file():
            return None
        archive = read_json(path, Archive)
        for name in field_names(Asked):
            before, now = getattr(archive.asked, name), getattr(self._asked, name)
            if before != now:
                raise InputError(f"{self._folder} holds results for another {name} ({before}, now {now}); choose another folder.")
        return archive

    def _listed(self, names: Iterable[str]) -> Archive:
        """Write all lists, then what says that they are complete."""
        for part in (LISTS, RESULTS):
            if (self._folder / part).exists():  # of a run that was killed while it listed
                shutil.rmtree(self._folder / part)
        with storage_errors(self._folder):
            (self._folder / LISTS).mkdir(parents=True)
        films = shards = 0
        rest = iter(names)
        while some := list(itertools.islice(rest, self._asked.shard_size)):
            write_atomically(self._folder / LISTS / _stem(shards), b"".join(os.fsencode(name) + END for name in some))
            films, shards = films + len(some), shards + 1
        if not films:
            raise InputError("There is no film in what was given; give pictures, folders, or a list on standard input.")
        archive = Archive(schema_version=SCHEMA_VERSION, asked=self._asked, films=films, shards=shards)
        write_atomically(self._folder / ARCHIVE, encode_json(archive))
        return archive

    def _names(self, number: int) -> list[str]:
        names = (self._folder / LISTS / _stem(number)).read_bytes().split(END)
        return list(map(os.fsdecode, names[:-1]))

    def _result(self, number: int) -> Path:
        return self._folder / RESULTS / f"{_stem(number)}.{self._asked.form}"


def folder_of(names: Sequence[str]) -> str | None:
    """The folder that all files lie below, as long as it is there; None for names of an object store, and where there is none."""
    folders = {os.path.dirname(name) for name in names}  # noqa: PTH120  (a Path for each of a million names takes its time)
    if any(map(is_remote, folders)):
        return None
    try:
        common = os.path.commonpath(folders)
    except ValueError:  # some are absolute, some are not
        return None
    return common if Path(common).is_dir() else None


def _stem(number: int) -> str:
    return f"{number:06d}"
