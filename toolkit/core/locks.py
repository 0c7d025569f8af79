"""Folders that one process works in at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import InputError

POLL_S = 0.1


@contextmanager
def held(folder: Path, busy: str, patience_s: float = 0) -> Iterator[None]:
    """Hold a folder that is there for this process; raises InputError with the sentence `busy` when another one holds it, and still does
    after `patience_s`. The system lets go of it when the process ends, however it ends."""
    place, until = os.open(folder, os.O_RDONLY | os.O_CLOEXEC), time.monotonic() + patience_s
    try:
        while not _taken(place):
            if time.monotonic() >= until:
                raise InputError(busy)
            time.sleep(POLL_S)
        yield
    finally:
        os.close(place)


def _taken(place: int) -> bool:
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
