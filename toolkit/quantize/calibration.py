"""Which films the quantizers see: from the train split only, half of each class."""

from __future__ import annotations

import numpy as np

from toolkit.data.films import Films
from toolkit.errors import DataError
from toolkit.imaging.decode import Pixels


def calibration_images(films: Films, count: int, seed: int) -> Pixels:
    """uint8 `[count, 1, H, W]`, drawn with `seed`, classes alternating; raises DataError when a class is missing or too few are there."""
    split = {case.split for case in films.cases} - {"train", "val"}
    if split:
        raise DataError(f"Calibration films must come from train; found films of: {', '.join(sorted(split))}.")
    random = np.random.default_rng((seed, 0xCA11B))
    halves = [random.permutation(np.flatnonzero(films.labels == label))[: count // 2] for label in (0, 1)]
    if min(map(len, halves)) == 0 or sum(map(len, halves)) < 2 * (count // 2):
        raise DataError(
            f"Calibration wants {count // 2} train films of each class; found {len(halves[0])} and {len(halves[1])}: "
            "lower quantize.calibration_films."
        )
    order = np.stack(halves, 1).reshape(-1)
    images: Pixels = films.images[order]
    return images
