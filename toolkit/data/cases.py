"""Labelled films and where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from toolkit.imaging.decode import Pixels

SPLITS = ("train", "val", "test")
ALL = "all"  # a labelled folder without splits


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled film. `name` is its path inside the source, `sha256` that of its bytes."""

    name: str
    split: str
    label: int
    patient: str
    group: str
    sha256: str


@dataclass(frozen=True)
class Source:
    """Labelled films, and how to get the raw form of one: file bytes, or decoded grey pixels uint8 `[H, W]`."""

    where: str
    cases: tuple[Case, ...]
    raw: Callable[[str], bytes | Pixels]
    ignored: tuple[str, ...] = ()
    synthetic: bool = False
    prefix: str = ""

    def of(self, *splits: str) -> tuple[Case, ...]:
        """The cases of these splits."""
        return tuple(case for case in self.cases if case.split in splits)

    def sha256(self) -> str:
        """Digest of all names, labels and contents: equal data, equal digest, wherever it lies."""
        rows = sorted((case.name.removeprefix(f"{self.prefix}/"), case.label, case.sha256) for case in self.cases)
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
