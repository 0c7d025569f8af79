"""File bytes -> grey pixels, for every picture format that a clinic hands over."""

from __future__ import annotations

import os
import stat
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from toolkit.errors import ImageError
from toolkit.imaging.limits import Pieces, check_file_bytes, check_scans, check_tiff_tags, memory_for

Pixels = NDArray[np.uint8]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".dcm", ".dicom"})
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # Pillow's; DICOM has a reader of its own
DICOM_MAGIC, DICOM_MAGIC_AT = b"DICM", 128  # PS3.10 7.1
DICOM_HEAD_BYTES = DICOM_MAGIC_AT + len(DICOM_MAGIC)
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
TIFF_BITS, TIFF_COMPRESSION, TILE_WIDTH, TILE_LENGTH = 258, 259, 322, 323
TIFF_MAGIC = (b"II", b"MM")
TIFF_COMPRESSIONS = {1: "none", 2: "CCITT", 3: "CCITT", 4: "CCITT", 5: "LZW", 7: "JPEG", 8: "deflate", 32773: "PackBits", 32946: "deflate"}
MAX_TILE_PIXELS = 2**22  # where the picture has fewer
BMP_PLAIN = (0, 3)  # BI_RGB, BI_BITFIELDS
START_OF_SCAN = b"\xff\xda"
PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # in memory; 4 in all other modes
COPIES = {"TIFF": 2, "WEBP": 4}  # a strip may be the whole picture; two canvases and the frame that is handed over
STRIP_PIXELS = 2**20
LONGEST_CAUSE = 200
MIN_EDGE_PX = 16
MAX_PIXELS = 50_000_000  # a 43 x 35 cm film at 0.1 mm has 15 million

_WARNINGS = threading.Lock()


def read_grey(path: Path, least_px: int | None = None) -> Image.Image:
    """Like `decode_grey`, from a file; raises ImageError also when the file cannot be opened."""
    return decode_grey(read_file(path), least_px)


def read_file(path: Path) -> bytes:
    """A picture file's bytes; raises ImageError when it cannot be opened, or is no regular file: a pipe or a device is not even opened."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise _no_picture_in(path)
        _check_regular(kind)
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:  # noqa: PTH123
            found = os.fstat(stream.fileno())
            _check_regular(found.st_mode)
            check_file_bytes(found.st_size)
            raw = stream.read(found.st_size + 1)
    except (OSError, ValueError) as cause:  # ValueError: a name that no file can have
        raise ImageError(f"cannot be opened: {getattr(cause, 'strerror', None) or cause}") from cause
    if len(raw) > found.st_size:
        raise ImageError("was changed while it was read; give it again when it is complete")
    return raw


def _no_picture_in(folder: Path) -> ImageError:
    if folder.is_symlink():
        return ImageError("is a link to a folder, which is not followed or has no pictures; give the folder itself")
    os.scandir(folder).close()
    return ImageError("is a folder without pictures")


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ImageError("is no regular file but a pipe, a device or a socket; it is not read")


def decode_grey(raw: bytes, least_px: int | None = None) -> Image.Image:
    """A picture file's bytes as 8-bit grey, upright (EXIF orientation applied), mode 'L'.

    Colour (RGB, palette, CMYK) becomes luma (ITU-R 601); transparency is laid over black; 12- and 16-bit grey is scaled by its
    declared depth, not by its content (16 bits: divided by 257). DICOM is known by its magic: `toolkit.imaging.dicom` has its rules.
    `least_px`: a JPEG is decoded at 1/2, 1/4 or 1/8 scale (in its DCT, ITU-T T.81 A.3.3) where each edge keeps so many pixels; other
    formats at full size. Raises ImageError for an empty, truncated or foreign file, and for a picture below 16 pixels on an edge or above
    50 million in all or beyond `toolkit.imaging.limits`, and for DICOM without pydicom; no other error leaves.
    """
    if not raw:
        raise ImageError("is empty (0 bytes)")
    check_file_bytes(len(raw))
    if is_dicom(raw):
        from toolkit.imaging.dicom import decode_dicom

        return decode_dicom(raw)
    try:
        return _decoded(raw, least_px)
    except ImageError:
        raise
    except Image.DecompressionBombError as cause:
        raise ImageError(f"is absurdly large; at most {MAX_PIXELS // 10**6} million pixels are read") from cause
    except UnidentifiedImageError as cause:
        raise ImageError(f"is not a picture; expected one of {', '.join((*FORMATS, 'DICOM'))}") from cause
    except MemoryError as cause:
        raise ImageError("needs more memory than this machine has left") from cause
    except Exception as cause:  # Pillow's readers meet damage with errors of every kind
        raise ImageError(f"is damaged or truncated ({_plain(cause)})") from cause


def is_dicom(raw: bytes) -> bool:
    """Whether a file's bytes, or the first DICOM_HEAD_BYTES of them, are those of a DICOM file."""
    return raw[DICOM_MAGIC_AT:DICOM_HEAD_BYTES] == DICOM_MAGIC


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


def _decoded(raw: bytes, least_px: int | None) -> Image.Image:
    if raw.startswith(TIFF_MAGIC):
        check_tiff_tags(raw)
    with _open(raw) as picture:
        check_size(*picture.size)
        _check_form(picture)
        with memory_for(_needed_bytes(picture, raw)):
            if least_px is not None:
                picture.draft("L", (least_px, least_px))
            picture.load()
            return _upright(picture, _to_grey(picture, _grey_bits(picture)))


def _open(raw: bytes) -> Image.Image:
    """Read the header. Pillow warns of odd metadata; what matters is raised."""
    with without_warnings():
        return Image.open(Pieces(raw), formats=FORMATS)


def _check_form(picture: Image.Image) -> None:
    """Raise ImageError for forms that no film has and that cost minutes or gigabytes: runs decoded in Python, tiles beyond the picture."""
    if picture.format == "BMP" and picture.info.get("compression") not in BMP_PLAIN:
        raise ImageError("is a BMP with compression, which is not read; save it without, or as PNG")
    if picture.format != "TIFF":
        return
    tags = _tiff_tags(picture)
    compression = tags.get(TIFF_COMPRESSION, 1)
    if compression not in TIFF_COMPRESSIONS:
        known = ", ".join(dict.fromkeys(TIFF_COMPRESSIONS.values()))
        raise ImageError(f"is a TIFF with a compression that is not read; expected one of {known}")
    tile = (tags.get(TILE_WIDTH) or 1) * (tags.get(TILE_LENGTH) or 1)
    if tile > max(picture.width * picture.height, MAX_TILE_PIXELS):
        raise ImageError("is a TIFF whose tiles are larger than its picture; it is not read")


def _tiff_tags(picture: Image.Image) -> Mapping[int, Any]:
    """None of another format. Pillow's TIFF reader is not imported for its type: a start would take a tenth longer."""
    tags: Mapping[int, Any] = getattr(picture, "tag_v2", {}) if picture.format == "TIFF" else {}
    return tags


def _needed_bytes(picture: Image.Image, raw: bytes) -> int:
    """At most so much memory is taken to decode it, with the file's bytes; raises ImageError for too many scans."""
    pixels, kind = picture.width * picture.height, picture.format
    copies = COPIES.get(str(kind), 1)
    if EXIF_ORIENTATION in _tiff_tags(picture):
        copies += 1  # turned by Pillow, before it is grey
    each = PIXEL_BYTES.get(picture.mode, 4) * copies
    if _may_have_scans(picture) and (scans := raw.count(START_OF_SCAN)) > 1:
        check_scans(scans, pixels)
        each += 2 * len(picture.getbands())  # the coefficients of all scans are kept until the last one
    return pixels * (each + 1) + len(raw) * (2 if kind == "WEBP" else 1)


def _may_have_scans(picture: Image.Image) -> bool:
    """Of a sequential JPEG of one component no more than the first scan is decoded (T.81 A.2.2), and to count them takes as long as a
    tenth of decoding."""
    return picture.format == "JPEG" and (len(picture.getbands()) > 1 or "progressive" in picture.info)


def _upright(picture: Image.Image, grey: Image.Image) -> Image.Image:
    """The grey of a picture, turned as its EXIF says. Only the one tag is read: Pillow's own way rewrites all of them and stumbles over
    odd ones."""
    orientation = picture.getexif().get(EXIF_ORIENTATION)
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return grey if turn is None else grey.transpose(turn)


def _plain(cause: Exception) -> str:
    """A library's words, which may quote the file, in one line."""
    return "".join(char if char.isprintable() else "?" for char in str(cause))[:LONGEST_CAUSE]


def _grey_bits(picture: Image.Image) -> int:
    """Declared depth of deep grey: TIFF may store 12 bits, which Pillow hands over as 16."""
    return int(_tiff_tags(picture).get(TIFF_BITS, (16,))[0])


def _to_grey(picture: Image.Image, bits: int) -> Image.Image:
    """Mode 'L', converted in strips: what stands between a picture and its grey would else need more memory than both."""
    if picture.mode == "L" and "transparency" not in picture.info:
        return picture
    rows = max(1, STRIP_PIXELS // picture.width)
    grey = Image.new("L", picture.size)
    for top in range(0, picture.height, rows):
        strip = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        grey.paste(_strip_to_grey(strip, bits), (0, top))
    return grey


def _strip_to_grey(picture: Image.Image, bits: int) -> Image.Image:
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
