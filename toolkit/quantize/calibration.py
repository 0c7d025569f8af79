"""Which films the quantizers see: from the train split only, half of each class, and of each class as many of each group."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from toolkit.data.films import Films
from toolkit.errors import DataError
from toolkit.imaging.decode import Pixels


def calibration_images(films: Films, count: int, seed: int) -> Pixels:
    """uint8 `[count, 1, H, W]`, drawn with `seed`, classes alternating; raises DataError when a class is missing or too few are there.

    Groups (bacteria and virus, the two lists of normals) take turns until one is used up.
    """
    split = {case.split for case in films.cases} - {"train", "val"}
    if split:
        raise DataError(f"Calibration films must come from train; found films of: {', '.join(sorted(split))}.")
    random = np.random.default_rng((seed, 0xCA11B))
    halves = [_in_turns(films, label, random)[: count // 2] for label in (0, 1)]
    if min(map(len, halves)) == 0 or sum(map(len, halves)) < 2 * (count // 2):
        raise DataError(
            f"Calibration wants {count // 2} train films of each class; found {len(halves[0])} and {len(halves[1])}: "
            "lower quantize.calibration_films."
        )
    order = np.stack(halves, 1).reshape(-1)
    images: Pixels = films.images[order]
    return images


def _in_turns(films: Films, label: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Rows of the films of one class, shuffled, one of each group after the other."""
    groups = np.array([case.group for case in films.cases])
    inside = films.labels == label
    shuffled = [random.permutation(np.flatnonzero(inside & (groups == group))).tolist() for group in np.unique(groups[inside])]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*shuffled))
    return np.array([row for row in turns if row is not None], np.int64)
