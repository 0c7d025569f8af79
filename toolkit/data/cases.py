"""Labelled films and where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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


class Labelled(Protocol):
    """Films that scores can be held against: labels int64 `[N]`, and whose they are. Pixels are not needed for that."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """0 or 1, `[N]`."""
        ...

    @property
    def cases(self) -> tuple[Case, ...]:
        """As many, in the same order."""
        ...

    @property
    def unusable(self) -> tuple[tuple[str, str], ...]:
        """Names and reasons of films that are left out."""
        ...


@dataclass(frozen=True)
class Truth:
    """`Labelled` and nothing else."""

    cases: tuple[Case, ...]
    unusable: tuple[tuple[str, str], ...] = ()

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """0 or 1, `[N]`."""
        return labels_of(self.cases)

    def __len__(self) -> int:
        return len(self.cases)


def labels_of(cases: tuple[Case, ...]) -> NDArray[np.int64]:
    """0 or 1 for each case, `[N]`."""
    return np.array([case.label for case in cases], np.int64)


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
