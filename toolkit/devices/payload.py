"""What travels to a device: the bundle, a runner (the torch-free part of this package as source), films named by their digest."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO

from toolkit.core.bundle import CARD, MANIFEST, Bundle
from toolkit.core.codec import encode_json
from toolkit.core.files import sha256_of, sha256_of_bytes
from toolkit.core.recipe import BenchmarkSpec, ValidateSpec
from toolkit.data.cases import Case, Source
from toolkit.data.sources import read_source
from toolkit.data.splits import labelled_films
from toolkit.devices.digests import LIST
from toolkit.devices.job import BUNDLE, FILM, FILMS, RUNNER
from toolkit.errors import DataError, InputError

PACKAGE = Path(__file__).parents[1]
ROOMS = ("core", "imaging", "infer", "benchmark", "devices", "cli")
SINGLES = ("__init__.py", "errors.py")
FIXED_TIME = 1_577_836_800  # 2020: no device's clock that works at all stands before it


@dataclass(frozen=True)
class Options:
    """What a visit does. `spec` and `artifacts` as `benchmark` takes them; `films`: a labelled folder or zip to validate drift on, by
    `gate`; `film`: a picture for the file-to-logit time; `install`: a folder of wheels; `python` and `folder`: the command and the
    place for temporary files there (None: its own); `name`: what the device is called."""

    spec: BenchmarkSpec = field(default_factory=BenchmarkSpec)
    artifacts: tuple[str, ...] = ()
    films: Path | None = None
    film: Path | None = None
    gate: ValidateSpec = field(default_factory=ValidateSpec)
    install: Path | None = None
    python: str = "python3"
    folder: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Entry:
    """A file to be sent: its path there, its digest, its size, and how its bytes are read."""

    name: str
    sha256: str
    size: int
    read: Callable[[], bytes]

    @classmethod
    def of_file(cls, name: str, path: Path) -> Entry:
        """A file of this machine."""
        return cls(name, sha256_of(path), path.stat().st_size, path.read_bytes)

    @classmethod
    def of_bytes(cls, name: str, data: bytes) -> Entry:
        """What was made here."""
        return cls(name, sha256_of_bytes(data), len(data), lambda: data)


@dataclass(frozen=True)
class Package:
    """All that every device gets alike; packed once for a fleet."""

    bundle: Bundle
    entries: tuple[Entry, ...]
    cases: tuple[Case, ...]


def pack(bundle_path: Path, options: Options) -> Package:
    """Verify the bundle here and list what travels. Raises InputError, BundleError, DataError."""
    bundle = Bundle(bundle_path)
    bundle.verify()
    for name in options.artifacts:
        bundle.artifact(name)
    cases, films = _films(options.films, bundle) if options.films else ((), ())
    entries = [*bundle_entries(bundle), *runner_entries(), *films]
    if options.film:
        if not options.film.is_file():
            raise InputError(f"No picture at {options.film}.")
        entries.append(Entry.of_file(FILM, options.film))
    return Package(bundle, tuple(entries), cases)


def bundle_entries(bundle: Bundle) -> list[Entry]:
    """The manifest and every file that it seals, with the sealed digests; the model card where there is one."""
    sealed = {
        file.path: Entry(f"{BUNDLE}/{file.path}", file.sha256, file.bytes, (bundle.folder / file.path).read_bytes)
        for file in bundle.manifest.all_files()
    }
    for name in (MANIFEST, CARD):
        if name not in sealed and (bundle.folder / name).is_file():
            sealed[name] = Entry.of_file(f"{BUNDLE}/{name}", bundle.folder / name)
    return [sealed[name] for name in sorted(sealed)]


def runner_entries() -> list[Entry]:
    """The rooms of this package that the device needs, and nothing of torch."""
    files = [PACKAGE / name for name in SINGLES]
    files += [file for room in ROOMS for file in sorted((PACKAGE / room).glob("*.py"))]
    return [Entry.of_file(f"{RUNNER}/toolkit/{file.relative_to(PACKAGE).as_posix()}", file) for file in files]


def folder_entries(folder: Path, below: str, pattern: str) -> list[Entry]:
    """The files of a folder."""
    return [Entry.of_file(f"{below}/{file.name}", file) for file in sorted(folder.glob(pattern)) if file.is_file()]


def with_digests(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries and, last, the list of their digests."""
    entries = tuple(entries)
    return (*entries, Entry.of_bytes(LIST, encode_json({entry.name: entry.sha256 for entry in entries})))


def write_tar(entries: Sequence[Entry], stream: IO[bytes]) -> None:
    """A tar stream of the entries: private, owned by whoever unpacks it."""
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        for entry in entries:
            data = entry.read()
            about = tarfile.TarInfo(entry.name)
            about.size, about.mode, about.mtime = len(data), 0o600, FIXED_TIME
            archive.addfile(about, BytesIO(data))


def total_bytes(entries: Iterable[Entry]) -> int:
    """Sum of the sizes."""
    return sum(entry.size for entry in entries)


def _films(path: Path, bundle: Bundle) -> tuple[tuple[Case, ...], tuple[Entry, ...]]:
    """Films travel under their digest: no file's name, which may be a patient's, leaves this machine."""
    source = read_source(path, bundle.manifest.labels)
    cases = labelled_films(source)
    different: Mapping[str, Case] = {case.sha256: case for case in cases}
    return cases, tuple(_film(source, case) for case in different.values())


def _film(source: Source, case: Case) -> Entry:
    def read() -> bytes:
        raw = source.raw(case.name)
        if not isinstance(raw, bytes):
            raise DataError(f"{source.where} holds pixels, not picture files; give a folder or a .zip of films.")
        return raw

    return Entry(f"{FILMS}/{case.sha256}", case.sha256, len(read()), read)
