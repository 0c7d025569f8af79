"""What a picture file may cost: bytes, pieces, memory, scans. What asks for more is refused before it is decoded."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from toolkit.errors import ImageError

MAX_FILE_BYTES = 200_000_000  # 15 million pixels of three times 16 bits have 90 million
MAX_PIECES = 100_000
MAX_MEMORY_BYTES = 380_000_000  # with Python, the runtime and a network below 500 million
LARGE_BYTES = 64_000_000
MAX_SCAN_PIXELS = 160_000_000  # ten scans, as libjpeg writes them in colour, of a film of 16 million pixels
MAX_TAGS, MAX_VALUES = 4_000, 100_000
BYTE_TYPES = (1, 2, 6, 7)  # TIFF 6.0: BYTE, ASCII, SBYTE, UNDEFINED, which are kept as they are
BIG_TIFF = 43
MEGA = 10**6

_LARGE = threading.Lock()


class Pieces(io.BytesIO):
    """A file's bytes for a reader that is written in Python: whoever asks for more pieces than any film has is in a maze that somebody
    built. Empty chunks, tags, runs and markers by the million would hold such a reader for minutes."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self._left = MAX_PIECES

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file; raises ImageError when it is too often."""
        self._left -= 1
        if self._left < 0:
            raise ImageError(f"is cut into more than {MAX_PIECES} pieces, as no film is; it is not read")
        return super().read(size)


def check_file_bytes(count: int) -> None:
    """Raise ImageError for a file that is larger than any film."""
    if count > MAX_FILE_BYTES:
        raise ImageError(f"has {count} bytes; at most {MAX_FILE_BYTES} are read")


@contextmanager
def memory_for(needed_bytes: int) -> Iterator[None]:
    """Decode within; of the pictures that need much memory one at a time. Raises ImageError for one that needs more than it may."""
    if needed_bytes > MAX_MEMORY_BYTES:
        raise ImageError(
            f"is too large: {needed_bytes // MEGA} MB of memory are needed to decode it, at most {MAX_MEMORY_BYTES // MEGA} are used; "
            "save it in grey, in one scan, or smaller"
        )
    if needed_bytes <= LARGE_BYTES:
        yield
        return
    with _LARGE:
        yield


def check_scans(scans: int, pixels: int) -> None:
    """A progressive JPEG is decoded whole once for each of its scans. Raises ImageError for more than a slow board decodes in seconds."""
    if scans > 1 and scans * pixels > MAX_SCAN_PIXELS:
        raise ImageError(f"is a JPEG of {scans} scans with {pixels} pixels each; save it in one scan")


def check_tiff_tags(raw: bytes) -> None:
    """Raise ImageError for a first directory with more tags, or more numbers in a tag, than a film has: Pillow makes an object of each.

    The header is read as Pillow does. A directory that is cut off is left to Pillow.
    """
    order, big = "<" if raw.startswith(b"II") else ">", raw[2:3] == bytes([BIG_TIFF])
    entry = struct.Struct(order + ("HHQ8x" if big else "HHL4x"))
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "L"), raw, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), raw, at)
        if count > MAX_TAGS:
            raise ImageError(f"is a TIFF of {count} tags; a film has at most {MAX_TAGS}")
        for place in range(count):
            tag, kind, values = entry.unpack_from(raw, at + (8 if big else 2) + place * entry.size)
            if kind not in BYTE_TYPES and values > MAX_VALUES:
                raise ImageError(f"is a TIFF with {values} numbers in the tag {tag}; a film has at most {MAX_VALUES}")
    except (struct.error, OverflowError):
        return
