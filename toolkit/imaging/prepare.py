"""Grey pixels -> the array that a graph takes, as its `Preprocessing` declares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from toolkit.core.preprocessing import Preprocessing
from toolkit.imaging.decode import Pixels, decode_grey, read_grey

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def prepare_file(path: Path, preprocessing: Preprocessing) -> Pixels:
    """A picture file as uint8 `[size, size]`; raises ImageError."""
    return prepare(read_grey(path), preprocessing)


def prepare_raw(raw: bytes | Pixels, preprocessing: Preprocessing) -> Pixels:
    """A picture file's bytes, or decoded grey pixels uint8 `[H, W]`, as uint8 `[size, size]`; raises ImageError."""
    picture = decode_grey(raw) if isinstance(raw, bytes) else Image.fromarray(raw)
    return prepare(picture, preprocessing)


def prepare(picture: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """A grey picture as uint8 `[size, size]`, 0..255; a picture of the right size is not resampled."""
    size = (preprocessing.size_px, preprocessing.size_px)
    if picture.size != size:
        picture = picture.resize(size, FILTERS[preprocessing.resample])
    return np.asarray(picture, dtype=np.uint8)
