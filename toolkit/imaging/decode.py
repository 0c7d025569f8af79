"""File bytes -> grey pixels, for every picture format that a clinic hands over."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from toolkit.errors import ImageError

Pixels = NDArray[np.uint8]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
MIN_EDGE_PX = 16
MAX_PIXELS = 50_000_000  # a 43 x 35 cm film at 0.1 mm has 15 million


def read_grey(path: Path) -> Image.Image:
    """Like `decode_grey`, from a file; raises ImageError also when the file cannot be opened."""
    if path.is_dir():
        raise ImageError("is a folder without pictures")
    try:
        raw = path.read_bytes()
    except OSError as cause:
        raise ImageError(f"cannot be opened: {cause.strerror or cause}") from cause
    return decode_grey(raw)


def decode_grey(raw: bytes) -> Image.Image:
    """A picture file's bytes as 8-bit grey, upright (EXIF orientation applied), mode 'L'.

    Colour (RGB, palette, CMYK) becomes luma (ITU-R 601); transparency is laid over black; 16-bit grey is divided by 257,
    by its declared depth, not by its content. Raises ImageError for an empty, truncated or foreign file, and
    for a picture below 16 pixels on an edge or above 50 million in all.
    """
    if not raw:
        raise ImageError("is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what matters is raised
            with Image.open(io.BytesIO(raw), formats=FORMATS) as picture:
                _check_size(*picture.size)
                return _to_grey(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError as cause:
        raise ImageError(f"is absurdly large; at most {MAX_PIXELS // 10**6} million pixels are read") from cause
    except UnidentifiedImageError as cause:
        raise ImageError(f"is not a picture; expected one of {', '.join(FORMATS)}") from cause
    except (OSError, SyntaxError, ValueError, EOFError) as cause:
        raise ImageError(f"is damaged or truncated ({cause})") from cause


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_EDGE_PX:
        raise ImageError(f"is {width}x{height} px; a film has at least {MIN_EDGE_PX} px on each edge")
    if width * height > MAX_PIXELS:
        raise ImageError(f"is absurdly large ({width}x{height} px); at most {MAX_PIXELS // 10**6} million pixels are read")


def _to_grey(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # I;16, I;16B, I: 16-bit grey as Pillow hands it over
        values = np.asarray(picture).astype(np.int64)
        return Image.fromarray(np.clip(values // 257, 0, 255).astype(np.uint8))
    if picture.mode == "F":
        raise ImageError("has floating-point pixels; expected 8 or 16 bits a pixel")
    if "A" in picture.getbands() or "transparency" in picture.info:
        shown = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", shown.size, (0, 0, 0, 255)), shown)
    return picture if picture.mode == "L" else picture.convert("RGB").convert("L")
