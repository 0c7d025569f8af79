"""A DICOM file's elements, read so that no file holds the reader for long, and none of its text leaves it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from toolkit.errors import ImageError
from toolkit.imaging.decode import without_warnings
from toolkit.imaging.limits import Pieces

if TYPE_CHECKING:
    from pydicom import Dataset

TABLES = (0x00283000, 0x00283010)
HEADER_BYTES = 8  # PS3.5 7.1: tag and VR, or tag and length
PIXEL_GROUP = 0x7FE0
PIXEL_GROUPS = (b"\xe0\x7f", b"\x7f\xe0")  # in either order
MAX_VALUE_BYTES, MAX_TABLES_BYTES = 64_000, 1_000_000
DEFLATED = "1.2.840.10008.1.2.1.99"


def read_elements(raw: bytes, keywords: Sequence[str]) -> Dataset:
    """The elements of a file with these keywords, where it has them; raises ImageError for what no film has, and pydicom's own errors, of
    every kind, for damage. To be used within `quiet`."""
    from pydicom import dcmread

    if DEFLATED.encode() in raw:
        raise ImageError("is deflated as a whole, which is not read; save it with explicit VR little endian")
    dataset = dcmread(_Elements(raw), specific_tags=list(keywords))
    _check_lengths(dataset)
    return dataset


class _Elements(Pieces):
    """A DICOM file's bytes. pydicom reads a header of 8 bytes, then perhaps a length, then the value; a value of more than a megabyte is
    the picture or nothing that a film needs, and pydicom would cut some of them into a million words."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self._header = b""

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file; raises ImageError for what no film has."""
        if size is not None and size > MAX_TABLES_BYTES and not self._header.startswith(PIXEL_GROUPS):
            raise ImageError(f"is a DICOM file with an element of {size} bytes beside its picture; it is not read")
        data = super().read(size)
        if size == HEADER_BYTES:
            self._header = data
        return data


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom warns and logs of odd values and quotes them. What matters is raised."""
    logger = logging.getLogger("pydicom")
    with without_warnings():
        before = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(before)


def _check_lengths(dataset: Dataset) -> None:
    """Values are turned into objects when they are first asked for. None that is read here is long."""
    from pydicom.dataelem import RawDataElement

    for element in dataset.elements():
        if isinstance(element, RawDataElement) and element.value is not None and element.tag.group != PIXEL_GROUP:
            most = MAX_TABLES_BYTES if element.tag in TABLES else MAX_VALUE_BYTES
            if len(element.value) > most:
                raise ImageError(f"is a DICOM file with {len(element.value)} bytes in one of its numbers; at most {most} are read")
