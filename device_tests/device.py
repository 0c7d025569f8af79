"""What the tests share: options, notes of what was measured, and commands in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from device_tests.record import film_files
from toolkit.benchmark.host import EMULATOR

NOTES = pytest.StashKey[dict[str, dict[str, Any]]]()
SECONDS = 900
FEW = 4
ROOT = Path(__file__).parent.parent


class Device:
    """The machine under test, and what is asked of it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @property
    def emulator(self) -> str | None:
        """What imitates this machine; None on a real one."""
        return os.environ.get(EMULATOR) or None

    @property
    def films(self) -> list[Path]:
        """The golden films; few of them in an emulator, where each takes long, for tests of what is not an answer."""
        return film_files()[: FEW if self.emulator else None]

    def option(self, name: str) -> Any:
        """The value of `--name`."""
        return self._config.getoption(f"--{name}")

    def limit(self, name: str) -> float | None:
        """The limit `--name` of a time or of memory; none of an emulator's is held against a limit."""
        value: float | None = None if self.emulator else self.option(name)
        return value

    def note(self, about: str, text: str, **figures: Any) -> None:
        """Keep what was measured for the end of the run."""
        mark = " (the emulator's)" if self.emulator and any(key.endswith(("_ms", "_mb", "_pct")) for key in figures) else ""
        self._config.stash[NOTES][about] = {"text": text + mark, **figures}


def command(*words: str | Path) -> list[str]:
    """A module of the package, in this interpreter."""
    return [sys.executable, "-m", *map(str, words)]


def environment() -> Mapping[str, str]:
    """The package is found where this one finds it, and what is written is seen at once."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


def run(words: Sequence[str], given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """A command to its end."""
    return subprocess.run(words, input=given, capture_output=True, timeout=SECONDS, check=False, env=environment())
