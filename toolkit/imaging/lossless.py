"""JPEG lossless (ITU-T T.81 annex H), decoded by GDCM in a process of its own.

GDCM 3.2.6 is the one permissively licensed decoder of 16 bits that has wheels for x86-64 and ARM64. Damaged films can end it by an
exception that nobody catches, or by a segmentation fault (`benchmarks.fuzz` found both): what happens to it there is one film that is
refused, and no more.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import ImageError
from toolkit.imaging import lossless_child
from toolkit.imaging.lossless_child import HEADER

PATIENCE_S = 20


def is_available() -> bool:
    """True when gdcm is installed."""
    return importlib.util.find_spec("gdcm") is not None


def decode_lossless(frame: bytes, size: tuple[int, int], bits: tuple[int, int], signed: bool, syntax: str) -> NDArray[np.uint8 | np.uint16]:
    """A grey frame as `[H, W]`, uint8 or uint16, a signed value in two's complement. `size`: rows and columns; `bits`: allocated, stored.

    Raises ImageError for a frame that gives no such picture, or none in time.
    """
    kind = np.dtype(f"<u{bits[0] // 8}")
    header = HEADER.pack(*size, *bits, signed, syntax.encode("ascii"))
    try:
        done = subprocess.run(
            [sys.executable, "-P", lossless_child.__file__], input=header + frame, capture_output=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ImageError("holds a JPEG lossless picture that takes too long to be decoded") from None
    if done.returncode or len(done.stdout) != size[0] * size[1] * kind.itemsize:
        raise ImageError("holds a JPEG lossless picture that is damaged, or not of the kind that the file says")
    return np.frombuffer(done.stdout, kind).reshape(size)
