"""Folders that one process works in at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import InputError


@contextmanager
def held(folder: Path, busy: str) -> Iterator[None]:
    """Hold a folder that is there for this process; raises InputError with the sentence `busy` when another one holds it. The system lets
    go of it when the process ends, however it ends."""
    place = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise InputError(busy) from cause
        yield
    finally:
        os.close(place)
