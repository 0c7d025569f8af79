"""Grey pixels -> the array that a graph takes, as its `Preprocessing` declares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from toolkit.core.preprocessing import Preprocessing
from toolkit.imaging.decode import Pixels, decode_grey, read_grey

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
REDUCED_LEAST = 2  # times the size that is asked for


def prepare_file(path: Path, preprocessing: Preprocessing, reduced: bool = False) -> Pixels:
    """A picture file as uint8 `[size, size]`; `reduced` as in `prepare_raw`; raises ImageError."""
    return prepare(read_grey(path, least_px(preprocessing) if reduced else None), preprocessing)


def prepare_raw(raw: bytes | Pixels, preprocessing: Preprocessing, reduced: bool = False) -> Pixels:
    """A picture file's bytes, or decoded grey pixels uint8 `[H, W]`, as uint8 `[size, size]`; raises ImageError.

    `reduced`, for slow boards: a JPEG is decoded at the smallest of the scales 1/2, 1/4, 1/8 that leaves REDUCED_LEAST times `size` on
    each edge, and then resampled as ever. Other pixels than at full scale, always the same ones: `validate.decode_drift` measures what
    that changes, and a bundle is sealed and judged without it.
    """
    if not isinstance(raw, bytes):
        return prepare(Image.fromarray(raw), preprocessing)
    return prepare(decode_grey(raw, least_px(preprocessing) if reduced else None), preprocessing)


def least_px(preprocessing: Preprocessing) -> int:
    """Pixels that reduced decoding leaves on each edge, so that the filter still averages over what it removes."""
    return REDUCED_LEAST * preprocessing.size_px


def prepare(picture: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """A grey picture as uint8 `[size, size]`, 0..255; a picture of the right size is not resampled."""
    size = (preprocessing.size_px, preprocessing.size_px)
    if picture.size != size:
        picture = picture.resize(size, FILTERS[preprocessing.resample])
    return np.asarray(picture, dtype=np.uint8)
