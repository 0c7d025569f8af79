"""An append-only log of what was decided, for whoever answers for it: no name of a file, no patient, one line a film."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from toolkit.core.codec import Frozen
from toolkit.core.files import storage_errors
from toolkit.errors import StorageError
from toolkit.infer.predictor import Judged
from toolkit.infer.results import utc_now

MOST_BYTES, KEPT = 10_000_000, 9
SALT_BYTES = 32


class Entry(Frozen, frozen=True, kw_only=True):
    """One line. `film`: HMAC-SHA256 of the digest of the file's bytes under the log's own salt, null where they could not be read; whoever
    holds film and salt can find its lines. `rejected`: why, in the program's words."""

    time: str
    film: str | None
    decision: str
    probability: float | None
    threshold: float
    artifact: str
    bundle_sha256: str
    rejected: str | None = None


class AuditLog:
    """FILE, with FILE.1 (the youngest) to FILE.9 before it, at most MOST_BYTES each, and FILE.salt. Readable to its owner alone.

    A line is on the disk before the next film is judged, so a power cut costs the last line at most; a line that was cut in two is taken
    away by the next one who writes. Several processes may write the same log. Raises StorageError when the disk refuses.
    """

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path, self._most_bytes = path, most_bytes
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._salt = self._read_salt()

    def write(self, judged: Judged) -> None:
        """One line."""
        said, sha256 = judged.prediction, judged.film.sha256 if judged.film else None
        entry = Entry(
            time=utc_now(),
            film=self.pseudonym(sha256) if sha256 else None,
            decision=said.decision,
            probability=said.probability,
            threshold=said.threshold,
            artifact=said.artifact,
            bundle_sha256=said.bundle_sha256,
            rejected=said.error,
        )
        with storage_errors(self._path), self._locked():
            self._append(msgspec.json.encode(entry) + b"\n")

    def pseudonym(self, sha256: str) -> str:
        """What stands for a film whose bytes have this digest."""
        return hmac.new(self._salt, bytes.fromhex(sha256), hashlib.sha256).hexdigest()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, also among processes; the salt's file is the lock, since it is never replaced."""
        place = os.open(self._path.with_name(f"{self._path.name}.salt"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(place, fcntl.LOCK_EX)
            self._salt_file = place
            yield
        finally:
            os.close(place)

    def _read_salt(self) -> bytes:
        salt = os.pread(self._salt_file, SALT_BYTES + 1, 0)
        if not salt:
            salt = secrets.token_bytes(SALT_BYTES)
            os.pwrite(self._salt_file, salt, 0)
            os.fsync(self._salt_file)
        if len(salt) != SALT_BYTES:
            raise StorageError(f"{self._path}.salt has not {SALT_BYTES} bytes: it was changed; begin another log with --log.")
        return salt

    def _append(self, line: bytes) -> None:
        place = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = self._mended(place)
            if size and size + len(line) > self._most_bytes:
                os.close(place)
                self._rotate()
                place = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                size = 0
            os.write(place, line)
            os.fsync(place)
            if not size:
                self._flush_folder()
        finally:
            os.close(place)

    def _mended(self, place: int) -> int:
        """Take away a last line that has no end; the size that is left."""
        size = os.fstat(place).st_size
        if size and os.pread(place, 1, size - 1) != b"\n":
            tail = os.pread(place, min(size, self._most_bytes), max(0, size - self._most_bytes))
            size -= len(tail) - (tail.rfind(b"\n") + 1)
            os.ftruncate(place, size)
        return size

    def _rotate(self) -> None:
        """FILE.8 becomes FILE.9, ..., FILE becomes FILE.1; what was FILE.9 is lost."""
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{number}") for number in range(1, KEPT + 1))]
        for older, younger in zip(names[:0:-1], names[-2::-1], strict=True):
            if younger.exists():
                younger.replace(older)

    def _flush_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
