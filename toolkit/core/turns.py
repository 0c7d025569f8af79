"""Whose turn it is on this machine: many may work, a timing is alone. Two locks of the system, which lets go of them when a process ends,
however it ends; nothing waits and nothing is locked unless `take_turns` was called."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GATE, MACHINE = "gate", "machine"
_folder: list[Path] = []
_held: list[int] = []


def take_turns(folder: Path | None = None) -> None:
    """From here on, this process waits for its turn among all of this user that do so on this machine. `folder`: where the locks lie."""
    place = folder or Path(tempfile.gettempdir()) / f"cxr-edge-turns-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    _folder[:] = [place]


@contextmanager
def working() -> Iterator[None]:
    """Work that others may work beside, once no timing is waited for or under way."""
    if not _folder or _held:
        yield
        return
    _enter(fcntl.LOCK_SH)
    try:
        yield
    finally:
        _leave()


@contextmanager
def alone() -> Iterator[None]:
    """A timing: begins when nobody works or times; who wants to work meanwhile waits. Work that it is in the middle of waits too."""
    if not _folder:
        yield
        return
    worked = bool(_held)
    if worked:
        _leave()
    _enter(fcntl.LOCK_EX)
    try:
        yield
    finally:
        _leave()
        if worked:
            _enter(fcntl.LOCK_SH)


def _enter(kind: int) -> None:
    """Through the gate, so that a timing that waits is passed by nobody: it holds the gate until the machine is its own."""
    gate = _lock(GATE, fcntl.LOCK_EX)
    try:
        _held.append(_lock(MACHINE, kind))
    finally:
        os.close(gate)


def _leave() -> None:
    os.close(_held.pop())


def _lock(name: str, kind: int) -> int:
    place = os.open(_folder[0] / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(place, kind)
    return place
