"""How a film looks, in four figures that need no network: size, brightness, contrast, sharpness."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from toolkit.imaging.decode import FORMATS, Pixels, decode_grey


class Look(NamedTuple):
    """`longer_px`: the longer edge as the film came. `brightness` and `contrast`: mean and standard deviation of the prepared film, 0 to
    255. `sharpness`: standard deviation of its Laplacian, as a share of the contrast (after Pech-Pacheco et al., ICPR 2000)."""

    longer_px: int
    brightness: float
    contrast: float
    sharpness: float


def look_of(raw: bytes | Pixels, pixels: Pixels) -> Look:
    """Of a film as it came (a file's bytes, or grey pixels `[H, W]`), and prepared, uint8 `[S, S]`."""
    values = pixels.astype(np.float64)
    contrast = float(values.std())
    inner = values[1:-1, 1:-1]
    laplacian = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:] - 4 * inner  # [S-2, S-2]
    return Look(max(_size(raw)), float(values.mean()), contrast, float(laplacian.std()) / contrast if contrast else 0.0)


def _size(raw: bytes | Pixels) -> tuple[int, int]:
    """(width, height), from the header where Pillow knows the format."""
    if not isinstance(raw, bytes):
        return raw.shape[1], raw.shape[0]
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as picture:
            return picture.size
    except UnidentifiedImageError:
        return decode_grey(raw).size
