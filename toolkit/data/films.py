"""Cases -> prepared pixels, through the one preparation that the clinic uses too."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.core.preprocessing import Preprocessing
from toolkit.core.progress import track
from toolkit.data.cases import Case, Source, labels_of
from toolkit.errors import DataError, ImageError
from toolkit.imaging.decode import Pixels
from toolkit.imaging.prepare import prepare_raw

AHEAD = 64


@dataclass(frozen=True)
class Films:
    """Prepared films: `images` uint8 `[N, 1, size, size]`, `labels` int64 `[N]`, the cases, and what could not be used.

    `images` may lie on disk, mapped into memory (data.store): only the rows that are asked for are read.
    """

    images: Pixels
    labels: NDArray[np.int64]
    cases: tuple[Case, ...]
    unusable: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, indices: Sequence[int] | NDArray[np.integer]) -> Films:
        """Some of the films, in the order of `indices`."""
        chosen = np.asarray(indices, np.int64)
        return Films(self.images[chosen], self.labels[chosen], tuple(self.cases[i] for i in chosen))


def prepare_films(source: Source, cases: tuple[Case, ...], preprocessing: Preprocessing, label: str) -> Films:
    """Decode and resize all cases into memory; a film that cannot be used is left out and listed with its reason."""
    results = list(prepared(source, cases, preprocessing, label))
    kept = [index for index, result in enumerate(results) if not isinstance(result, str)]
    edge = preprocessing.size_px
    images = np.empty((len(kept), 1, edge, edge), np.uint8)
    for row, index in enumerate(kept):
        images[row, 0] = results[index]
    usable = tuple(cases[index] for index in kept)
    unusable = tuple((case.name, result) for case, result in zip(cases, results, strict=True) if isinstance(result, str))
    return Films(images, labels_of(usable), usable, unusable)


def prepared(source: Source, cases: tuple[Case, ...], preprocessing: Preprocessing, label: str) -> Iterator[Pixels | str]:
    """The pixels of each case in turn, uint8 `[size, size]`, or why it cannot be used; made on all cores, a few ahead."""

    def one(case: Case) -> Pixels | str:
        try:
            return prepare_raw(source.raw(case.name), preprocessing)
        except ImageError as cause:
            return str(cause)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from track(_in_order(pool, one, cases), len(cases), label)


def _in_order(pool: ThreadPoolExecutor, one: Callable[[Case], Pixels | str], cases: tuple[Case, ...]) -> Iterator[Pixels | str]:
    """As `pool.map`, but with no more than AHEAD films under way: what is finished lies in memory until it is taken."""
    waiting: deque[Future[Pixels | str]] = deque()
    for case in cases:
        if len(waiting) >= AHEAD:
            yield waiting.popleft().result()
        waiting.append(pool.submit(one, case))
    while waiting:
        yield waiting.popleft().result()


def refuse_unusable(unusable: Sequence[tuple[str, str]]) -> None:
    """Raise DataError when a film could not be used: a training set is repaired, not shortened in silence."""
    if unusable:
        shown = "; ".join(f"{name} {reason}" for name, reason in unusable[:5])
        raise DataError(f"{len(unusable)} films cannot be used: {shown}. Remove or replace them (cxr-edge data check lists all).")
