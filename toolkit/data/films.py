"""Cases -> prepared pixels in memory, through the one preparation that the clinic uses too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.core.preprocessing import Preprocessing
from toolkit.core.progress import track
from toolkit.data.cases import Case, Source
from toolkit.errors import DataError, ImageError
from toolkit.imaging.decode import Pixels
from toolkit.imaging.prepare import prepare_raw


@dataclass(frozen=True)
class Films:
    """Prepared films: `images` uint8 `[N, 1, size, size]`, `labels` int64 `[N]`, the cases, and what could not be used."""

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
    """Decode and resize all cases on all cores; a film that cannot be used is left out and listed with its reason."""

    def one(case: Case) -> Pixels | str:
        try:
            return prepare_raw(source.raw(case.name), preprocessing)
        except ImageError as cause:
            return str(cause)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(track(pool.map(one, cases), len(cases), label))
    kept = [index for index, result in enumerate(results) if not isinstance(result, str)]
    edge = preprocessing.size_px
    images = np.empty((len(kept), 1, edge, edge), np.uint8)
    for row, index in enumerate(kept):
        images[row, 0] = results[index]
    usable = tuple(cases[index] for index in kept)
    unusable = tuple((case.name, result) for case, result in zip(cases, results, strict=True) if isinstance(result, str))
    return Films(images, np.array([case.label for case in usable], np.int64), usable, unusable)


def refuse_unusable(films: Films) -> Films:
    """The films, or DataError when one could not be used: a training set is repaired, not shortened in silence."""
    if films.unusable:
        shown = "; ".join(f"{name} {reason}" for name, reason in films.unusable[:5])
        raise DataError(f"{len(films.unusable)} films cannot be used: {shown}. Remove or replace them (cxr-edge data check lists all).")
    return films
