"""File bytes -> grey pixels, for every picture format that a clinic hands over."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from toolkit.errors import ImageError

Pixels = NDArray[np.uint8]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".dcm", ".dicom"})
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # Pillow's; DICOM has a reader of its own
DICOM_MAGIC, DICOM_MAGIC_AT = b"DICM", 128  # PS3.10 7.1
EXIF_ORIENTATION = 0x0112
TURNS = {  # EXIF 2.32, tag 0x0112
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TIFF_BITS = 258
MIN_EDGE_PX = 16
MAX_PIXELS = 50_000_000  # a 43 x 35 cm film at 0.1 mm has 15 million

_WARNINGS = threading.Lock()


def read_grey(path: Path, least_px: int | None = None) -> Image.Image:
    """Like `decode_grey`, from a file; raises ImageError also when the file cannot be opened."""
    return decode_grey(read_file(path), least_px)


def read_file(path: Path) -> bytes:
    """A picture file's bytes; raises ImageError when it cannot be opened."""
    if path.is_dir():
        raise ImageError("is a folder without pictures")
    try:
        return path.read_bytes()
    except OSError as cause:
        raise ImageError(f"cannot be opened: {cause.strerror or cause}") from cause


def decode_grey(raw: bytes, least_px: int | None = None) -> Image.Image:
    """A picture file's bytes as 8-bit grey, upright (EXIF orientation applied), mode 'L'.

    Colour (RGB, palette, CMYK) becomes luma (ITU-R 601); transparency is laid over black; 12- and 16-bit grey is scaled by its
    declared depth, not by its content (16 bits: divided by 257). DICOM is known by its magic: `toolkit.imaging.dicom` has its rules.
    `least_px`: a JPEG is decoded at 1/2, 1/4 or 1/8 scale (in its DCT, ITU-T T.81 A.3.3) where each edge keeps so many pixels; other
    formats at full size. Raises ImageError for an empty, truncated or foreign file, and for a picture below 16 pixels on an edge or above
    50 million in all, and for DICOM without pydicom.
    """
    if not raw:
        raise ImageError("is empty (0 bytes)")
    if raw[DICOM_MAGIC_AT : DICOM_MAGIC_AT + len(DICOM_MAGIC)] == DICOM_MAGIC:
        from toolkit.imaging.dicom import decode_dicom

        return decode_dicom(raw)
    try:
        with _open(raw) as picture:
            check_size(*picture.size)
            if least_px is not None:
                picture.draft("L", (least_px, least_px))
            picture.load()
            return _to_grey(_upright(picture), _grey_bits(picture))
    except Image.DecompressionBombError as cause:
        raise ImageError(f"is absurdly large; at most {MAX_PIXELS // 10**6} million pixels are read") from cause
    except UnidentifiedImageError as cause:
        raise ImageError(f"is not a picture; expected one of {', '.join((*FORMATS, 'DICOM'))}") from cause
    except (OSError, SyntaxError, ValueError, EOFError) as cause:
        raise ImageError(f"is damaged or truncated ({cause})") from cause


@contextmanager
def without_warnings() -> Iterator[None]:
    """Warning filters belong to the whole process, so only one thread at a time may change them. Not to be nested."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_size(width: int, height: int) -> None:
    """Raise ImageError for what is too small to be a film or too large to be read."""
    if min(width, height) < MIN_EDGE_PX:
        raise ImageError(f"is {width}x{height} px; a film has at least {MIN_EDGE_PX} px on each edge")
    if width * height > MAX_PIXELS:
        raise ImageError(f"is absurdly large ({width}x{height} px); at most {MAX_PIXELS // 10**6} million pixels are read")


def _open(raw: bytes) -> Image.Image:
    """Read the header. Pillow warns of odd metadata; what matters is raised."""
    with without_warnings():
        return Image.open(io.BytesIO(raw), formats=FORMATS)


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as EXIF says. Only the one tag is read: Pillow's own way rewrites all of them and stumbles over odd ones."""
    orientation = picture.getexif().get(EXIF_ORIENTATION)
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return picture if turn is None else picture.transpose(turn)


def _grey_bits(picture: Image.Image) -> int:
    """Declared depth of deep grey: TIFF may store 12 bits, which Pillow hands over as 16."""
    return int(picture.tag_v2.get(TIFF_BITS, (16,))[0]) if isinstance(picture, TiffImageFile) else 16


def _to_grey(picture: Image.Image, bits: int) -> Image.Image:
    if picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.int64) * 255 // (2**bits - 1)
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if picture.mode == "F":
        raise ImageError("has floating-point pixels; expected 8 or 16 bits a pixel")
    if picture.mode.startswith("I"):
        raise ImageError("has 32 bits a pixel; expected 8 or 16")
    if "A" in picture.getbands() or "transparency" in picture.info:
        shown = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", shown.size, (0, 0, 0, 255)), shown)
    return picture if picture.mode == "L" else picture.convert("RGB").convert("L")
