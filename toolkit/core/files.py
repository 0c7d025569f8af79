"""Digests, and writes that are either whole or absent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from toolkit.errors import StorageError


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file beside its place, flush it to the disk and move it in.

    Raises StorageError when the disk refuses; the old file is then still there.
    """
    partial = path.with_name(f".{path.name}.partial")
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                stream.write(data.encode() if isinstance(data, str) else data)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path`; move it to `path` when the block ends well, remove it when not.

    A folder that stands at `path` is replaced. Raises StorageError when the disk refuses.
    """
    partial = path.with_name(f".{path.name}.partial")
    with storage_errors(path):
        _remove(partial)
        partial.mkdir(parents=True)
        try:
            yield partial
            _flush_tree(partial)
            _swap_in(partial, path)
        finally:
            _remove(partial)


@contextmanager
def text_written_whole(path: Path) -> Iterator[IO[str]]:
    """Give a text stream; what was written stands at `path` when the block ends well, and nowhere when not."""
    partial = path.with_name(f".{path.name}.partial")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("w", encoding="utf-8", newline="") as stream:
                yield stream
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def folder_bytes(folder: Path) -> int:
    """Sum of the sizes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _flush_tree(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())


def _swap_in(partial: Path, path: Path) -> None:
    old = path.with_name(f".{path.name}.old")
    _remove(old)
    if path.exists():
        path.replace(old)
    try:
        partial.replace(path)
    except OSError:
        if old.exists():
            old.replace(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        import shutil  # what it imports takes its time, and a prediction removes nothing

        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an operating-system error of a write into one sentence."""
    try:
        yield
    except BrokenPipeError:  # whoever reads our output has left: no matter of the disk
        raise
    except OSError as cause:
        if cause.errno is None:  # a library's own, such as a picture's: no matter of the disk either
            raise
        raise StorageError(f"Cannot write {path}: {cause.strerror or cause}; free some space or write elsewhere.") from cause
