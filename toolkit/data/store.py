"""Prepared films on disk: decoded once, then mapped into memory, so that a set larger than the memory can be trained on.

    FOLDER/<key>/pixels.npy   uint8 [N, 1, size, size]
    FOLDER/<key>/films.json   digest of pixels.npy

The key is a digest of all file contents in their order and of the preprocessing. A copy that is damaged, or of another key, is made
anew; none is ever trusted by its name alone.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array_header_1_0

from toolkit.core.codec import Frozen, encode_json, read_json
from toolkit.core.files import folder_written_whole, sha256_of, sha256_of_bytes
from toolkit.core.preprocessing import Preprocessing
from toolkit.data.cases import Case, Source, labels_of
from toolkit.data.films import Films, prepared, refuse_unusable
from toolkit.errors import BundleError
from toolkit.imaging.decode import Pixels

LOG = logging.getLogger(__name__)
PIXELS, DESCRIPTION = "pixels.npy", "films.json"
PIXELS_VERSION = 1  # raise it when imaging gives other pixels for the same file


class Stored(Frozen, frozen=True, kw_only=True):
    """`films.json`."""

    pixels_sha256: str


def stored_films(source: Source, cases: tuple[Case, ...], preprocessing: Preprocessing, folder: Path, label: str) -> Films:
    """The films of `cases` from `folder`, decoded into it first where they are not there.

    Raises DataError when a film cannot be used, StorageError when the disk is full.
    """
    place = folder / _key(cases, preprocessing)[:16]
    pixels = _read(place, (len(cases), 1, preprocessing.size_px, preprocessing.size_px))
    if pixels is None:
        with folder_written_whole(place) as fresh:
            _decode(source, cases, preprocessing, fresh, label)
        pixels = np.asarray(np.load(place / PIXELS, mmap_mode="c"))
    return Films(pixels, labels_of(cases), cases)


def _key(cases: tuple[Case, ...], preprocessing: Preprocessing) -> str:
    look = (preprocessing.size_px, preprocessing.colour, preprocessing.resize, preprocessing.resample)
    return sha256_of_bytes(encode_json((PIXELS_VERSION, look, [case.sha256 for case in cases])))


def _read(place: Path, shape: tuple[int, ...]) -> Pixels | None:
    """The mapped array; None where it is not there, or not what was written."""
    if not (place / DESCRIPTION).is_file():
        return None
    try:
        if read_json(place / DESCRIPTION, Stored, BundleError).pixels_sha256 == sha256_of(place / PIXELS):
            pixels = np.asarray(np.load(place / PIXELS, mmap_mode="c"))  # c: changes stay in memory
            if pixels.shape == shape and pixels.dtype == np.uint8:
                return pixels
    except (BundleError, OSError, ValueError):
        pass
    LOG.warning("%s is damaged; its films are decoded again", place)
    return None


def _decode(source: Source, cases: tuple[Case, ...], preprocessing: Preprocessing, folder: Path, label: str) -> None:
    edge = preprocessing.size_px
    unusable = []
    with (folder / PIXELS).open("wb") as stream:  # not through a map: on a full disk a write to one kills the process
        write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (len(cases), 1, edge, edge)})
        for case, result in zip(cases, prepared(source, cases, preprocessing, label), strict=True):
            if isinstance(result, str):
                unusable.append((case.name, result))
            else:
                stream.write(result.tobytes())
    refuse_unusable(unusable)
    (folder / DESCRIPTION).write_bytes(encode_json(Stored(pixels_sha256=sha256_of(folder / PIXELS))))
