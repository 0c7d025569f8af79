"""Where predictions go: JSON lines, a CSV table, a file beside each film, a heat map or a DICOM Secondary Capture of each film."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol

import msgspec

from toolkit import __version__
from toolkit.core.codec import Frozen, decode_json, encode_json, field_names
from toolkit.core.files import sha256_of_bytes, write_atomically
from toolkit.core.labels import Labels
from toolkit.core.prediction import Prediction
from toolkit.core.text import printable
from toolkit.errors import InputError
from toolkit.imaging.decode import is_dicom, read_file
from toolkit.infer.predictor import Judged

SIDECAR = ".cxr-edge.json"


class Sink(Protocol):
    """Takes one film after another."""

    def write(self, judged: Judged) -> None:
        """Keep what was said of the film."""
        ...


class JsonLines:
    """One JSON object a line."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, judged: Judged) -> None:
        """A line."""
        self._stream.write(msgspec.json.encode(judged.prediction).decode() + "\n")
        self._stream.flush()


class CsvTable:
    """A head and one row a film."""

    def __init__(self, stream: IO[str]) -> None:
        self._rows = CsvRows(stream)

    def write(self, judged: Judged) -> None:
        """A row."""
        self._rows.add(judged.prediction)


class CsvRows:
    """A table's head, and a row a prediction, which is one line; control characters in names are escaped."""

    def __init__(self, stream: IO[str]) -> None:
        import csv

        self._table = csv.writer(stream, lineterminator="\n")
        self._table.writerow(field_names(Prediction))

    def add(self, prediction: Prediction) -> None:
        """A row."""
        cells = msgspec.structs.astuple(prediction)
        self._table.writerow([printable(cell) if isinstance(cell, str) else cell for cell in cells])


class Version(Frozen, frozen=True, kw_only=True):
    """Which state of a file was read: its size and the time of its last change."""

    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Version | None:
        """Of the file as it is now; None when there is none."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(bytes=found.st_size, mtime_ns=found.st_mtime_ns)


class Record(Frozen, frozen=True, kw_only=True):
    """What stands beside a film. `sha256`: of the film's bytes, null where they could not be read. `time`: UTC."""

    film: Version | None
    sha256: str | None
    time: str
    prediction: Prediction


class Sidecars:
    """NAME.cxr-edge.json beside each film, written whole or not at all."""

    def __init__(self) -> None:
        self._noted: dict[Path, Version | None] = {}

    def noting(self, paths: Iterable[Path]) -> Iterator[Path]:
        """The same paths; the version of each is noted before it is read, so that no record is about a newer one than was judged."""
        for path in paths:
            self._noted[path] = Version.of(path)
            yield path

    def write(self, judged: Judged) -> None:
        """Raises StorageError when the folder takes no file; what is no file, or is gone, has no place beside it and gets none."""
        version = self._noted.pop(judged.path, None)
        if version is None or not judged.path.is_file():
            return
        sha256 = judged.film.sha256 if judged.film else None
        record = Record(film=version, sha256=sha256, time=utc_now(), prediction=judged.prediction)
        write_atomically(sidecar_of(judged.path), encode_json(record))

    @staticmethod
    def version_read(path: Path) -> Version | None:
        """Which version of a film the record beside it is about; None where there is no record, or one that cannot be read."""
        try:
            return decode_json(sidecar_of(path).read_bytes(), Record, "record").film
        except (OSError, InputError):
            return None  # the film is read again, and the record replaced


class HeatMaps:
    """A PNG of each film that was judged: NAME.DIGEST-OF-THE-PATH.png in one folder."""

    def __init__(self, folder: Path, label: str) -> None:
        self._folder, self._label = folder, label

    def add(self, judged: Judged) -> Judged:
        """The same, with where its heat map was written; raises StorageError."""
        from toolkit.imaging.overlay import overlay_png

        if judged.film is None or judged.heat is None:
            return judged
        place = _place_for(judged.path, self._folder, ".png")
        write_atomically(place, overlay_png(judged.film.pixels, judged.heat, self._label))
        return judged._replace(prediction=msgspec.structs.replace(judged.prediction, heatmap=str(place)))


class SecondaryCaptures:
    """A DICOM Secondary Capture of each DICOM film that was judged: NAME.DIGEST-OF-THE-PATH.dcm in one folder."""

    def __init__(self, folder: Path, labels: Labels, model: str) -> None:
        """`model`: the bundle's name. Raises MissingDependencyError."""
        from toolkit.imaging.secondary_capture import check_available

        check_available()
        self._folder, self._label, self._model = folder, labels.positive, model

    def add(self, judged: Judged) -> Judged:
        """The same, with where its capture was written. Raises StorageError, or ImageError for a film that nothing can be filed with."""
        from toolkit.imaging.overlay import overlay
        from toolkit.imaging.secondary_capture import About, secondary_capture

        if judged.film is None or judged.heat is None or not is_dicom(raw := read_file(judged.path)):
            return judged
        said = judged.prediction
        title = f"Screening aid, no diagnosis: {said.decision} {said.probability:.3f} (cxr-edge {self._model})"
        lines = (
            f"{said.decision}: probability {said.probability:.3f}, threshold {said.threshold:.3f}",
            "A screening aid, no diagnosis. Colour: where the model looked.",
            f"cxr-edge {__version__}, {self._model} {said.artifact}, bundle {said.bundle_sha256[:12]}",
        )
        comment = "\n".join((*lines[:2], f"bundle {said.bundle_sha256}, artifact {said.artifact}"))
        about = About(title, comment, (said.bundle_sha256, said.artifact))
        picture = overlay(judged.film.pixels, judged.heat, self._label, lines)
        place = _place_for(judged.path, self._folder, ".dcm")
        write_atomically(place, secondary_capture(raw, picture, about))
        return judged._replace(prediction=msgspec.structs.replace(said, secondary_capture=str(place)))


def _place_for(film: Path, folder: Path, suffix: str) -> Path:
    """Where a film's picture is written: films of the same name in two folders have two places."""
    return folder / f"{film.name}.{sha256_of_bytes(os.fsencode(film))[:8]}{suffix}"


def sidecar_of(path: Path) -> Path:
    """Where the record of a film stands."""
    return path.with_name(path.name + SIDECAR)


def utc_now() -> str:
    """Such as 2026-01-31T12:00:00+00:00."""
    return datetime.now(UTC).isoformat(timespec="seconds")
