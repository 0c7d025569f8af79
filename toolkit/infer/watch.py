"""A folder into which films are dropped: each is handed out once, when it is complete."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from toolkit.core.locks import held
from toolkit.errors import InputError
from toolkit.infer.predictor import pictures_below
from toolkit.infer.results import Sidecars, Version

SETTLE_S = 2.0
Wait = Callable[[float], bool]


def watched(folder: Path) -> AbstractContextManager[None]:
    """Hold the folder: raises InputError when there is none, or another process watches it."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder} to watch; make it first.")
    return held(folder, f"{folder} is watched already by another process; stop that one first.")


def arriving(folder: Path, stopped: Wait, poll_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> Iterator[Path]:
    """Films below a folder, each as soon as its size and time of change have stood still for SETTLE_S; `stopped(poll_s)` waits, and ends it
    with True.

    A film whose record says that this version of it was read is passed over, so that a restart reads nothing twice; one that was
    replaced is read again. Names that begin with a dot are of programs that copy, and are passed over too.
    """
    done: dict[Path, Version] = {}
    growing: dict[Path, tuple[Version, float]] = {}
    while True:
        found = dict(_films(folder))
        for path, version in found.items():
            if done.get(path) == version:
                continue
            if path not in done and Sidecars.version_read(path) == version:
                done[path] = version
            elif path in growing and growing[path][0] == version:
                if clock() - growing[path][1] >= SETTLE_S:
                    done[path] = version
                    yield path
            else:
                growing[path] = (version, clock())
        for forgotten in (done, growing):
            for path in forgotten.keys() - found.keys():
                del forgotten[path]
        growing = {path: seen for path, seen in growing.items() if path not in done or done[path] != seen[0]}
        if stopped(poll_s):
            return


def _films(folder: Path) -> Iterator[tuple[Path, Version]]:
    for path in pictures_below(folder):
        version = Version.of(path)
        if version is not None and path.is_file() and not path.name.startswith("."):
            yield path, version
