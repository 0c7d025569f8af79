"""Grey pixels -> the array that a graph takes, as its `Preprocessing` declares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from toolkit.core.preprocessing import Preprocessing
from toolkit.imaging.decode import Pixels, decode_grey, read_grey

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
REDUCED_LEAST = 2  # times the size that is asked for


def prepare_file(path: Path, preprocessing: Preprocessing) -> Pixels:
    """A picture file as uint8 `[size, size]`; raises ImageError."""
    return prepare(read_grey(path, least_px(preprocessing)), preprocessing)


def prepare_raw(raw: bytes | Pixels, preprocessing: Preprocessing) -> Pixels:
    """A picture file's bytes, or decoded grey pixels uint8 `[H, W]`, as uint8 `[size, size]`; raises ImageError."""
    if not isinstance(raw, bytes):
        return prepare(Image.fromarray(raw), preprocessing)
    return prepare(decode_grey(raw, least_px(preprocessing)), preprocessing)


def least_px(preprocessing: Preprocessing) -> int | None:
    """Pixels that reduced decoding leaves on each edge, so that the filter still averages over what it removes; None where films are
    decoded whole. Other pixels than at full scale, always the same ones: `validate.decode_drift` measures what that changes."""
    return REDUCED_LEAST * preprocessing.size_px if preprocessing.decode == "reduced" else None


def prepare(picture: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """A grey picture as uint8 `[size, size]`, 0..255; a picture of the right size is not resampled."""
    size = (preprocessing.size_px, preprocessing.size_px)
    if picture.size != size:
        picture = picture.resize(size, FILTERS[preprocessing.resample])
    return np.asarray(picture, dtype=np.uint8)
