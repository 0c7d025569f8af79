"""DICOM file bytes -> grey pixels: what the standard says is shown of an X-ray film, and nothing else that the file holds.

    stored value -> modality LUT or rescale -> VOI LUT or window -> grey, 0 to 255 -> inverted for MONOCHROME1
    (PS3.3 C.7.6.3)  (C.11.1)                (C.11.2)                                 (C.7.6.3.1.2)

A stored value has at most 16 bits, so the chain is walked once for each value that there can be; the pixels are looked up.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from toolkit.errors import ImageError
from toolkit.imaging.decode import Pixels, check_size, without_warnings

if TYPE_CHECKING:
    from pydicom import Dataset

Values = NDArray[np.float64]
Range = tuple[float, float]

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
VOI_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")  # C.11.2.1.3
DEFLATED = "1.2.840.10008.1.2.1.99"
JP2 = b"\0\0\0\x0cjP  "  # ISO/IEC 15444-1 I.5.1
BITS = range(8, 17)
WHITE = 255
LAST_DIGIT = 1e-6  # what is exactly a grey level stays it when the last digit of a float is lost


def decode_dicom(raw: bytes) -> Image.Image:
    """A DICOM file with one frame as 8-bit grey, mode 'L', rows and columns as they are stored.

    Grey: the modality LUT sequence, or rescale slope and intercept (C.11.1); then the first VOI LUT, or else the first window (C.11.2),
    or without any the range that the bits stored allow, never that of the content; MONOCHROME1 is inverted (C.7.6.3.1.2); padding is
    black (C.7.5.1.1.2). What lies between two grey levels is cut off, as in 16-bit PNG. RGB and YBR become luma (ITU-R 601).

    No text of the file enters a message or a log: it may be the patient's.

    Raises ImageError for a film that is damaged, truncated, without pixels, too small, too large, of several frames, or in a form that is
    not read, or when pydicom is not installed.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError as cause:
        raise ImageError("is DICOM, which needs the package 'pydicom': pip install 'cxr-edge[dicom]'") from cause
    try:
        with _quiet():
            dataset = _read(raw)
            stored = _stored(dataset)
            shades = _shades(dataset) if dataset.PhotometricInterpretation in GREY else None
    except ImageError:
        raise
    except Exception:  # pydicom meets damage with errors of every kind, whose text may quote the file: it is not chained
        raise ImageError("is a DICOM file that is damaged or truncated") from None
    if shades is None:
        return Image.fromarray((stored * np.uint32(WHITE) // (2**dataset.BitsStored - 1)).astype(np.uint8)).convert("L")
    return Image.fromarray(shades[stored])


@contextmanager
def _quiet() -> Iterator[None]:
    """pydicom warns and logs of odd values and quotes them. What matters is raised."""
    logger = logging.getLogger("pydicom")
    with without_warnings():
        before = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(before)


def _read(raw: bytes) -> Dataset:
    """The dataset, of which all that can be said before its pixels are decoded is checked."""
    from pydicom import dcmread

    if DEFLATED.encode() in raw:
        raise ImageError("is deflated as a whole, which is not read; save it with explicit VR little endian")
    dataset = dcmread(io.BytesIO(raw))
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise ImageError("has floating-point pixels; expected 8 to 16 bits a pixel")
    if not dataset.get("PixelData"):
        raise ImageError("is a DICOM file without pixel data, or ends before it")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError(f"holds {frames} frames; a film has one")
    if dataset.PhotometricInterpretation not in (*GREY, *COLOUR):
        raise ImageError(f"has a photometric interpretation that is not read; expected one of {', '.join((*GREY, *COLOUR))}")
    samples, expected = dataset.SamplesPerPixel, 1 if dataset.PhotometricInterpretation in GREY else 3
    if samples != expected:
        raise ImageError(f"has {samples} samples a pixel where its photometric interpretation asks for {expected}")
    check_size(dataset.Columns, dataset.Rows)
    _check_bits(dataset)
    return dataset


def _check_bits(dataset: Dataset) -> None:
    """C.7.6.3.1.1 and PS3.5 8.1.1: bits stored lie at the low end of the bits allocated."""
    allocated, bits = dataset.BitsAllocated, dataset.BitsStored
    if allocated not in (8, 16) or bits not in BITS or bits > allocated:
        raise ImageError(f"stores {bits} of {allocated} bits a pixel; expected 8 to 16, of 8 or 16")
    high = dataset.get("HighBit", bits - 1)
    if high != bits - 1:
        raise ImageError(f"has its highest bit at {high} with {bits} bits stored; expected {bits - 1}")


def _stored(dataset: Dataset) -> NDArray[np.uint16]:
    """The bits stored of each pixel, `[H, W]`, or `[H, W, 3]` RGB; unsigned, so that a signed value is in two's complement."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array

    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        raise ImageError("is a DICOM file that does not name its transfer syntax")
    named = syntax.name if syntax.name != syntax else "a transfer syntax that is not known"
    try:
        readable = not syntax.is_encapsulated or get_decoder(syntax).is_available
    except (NotImplementedError, ValueError):
        readable = False
    if not readable:
        raise ImageError(f"is written in {named}, for which no decoder is here; save it with explicit VR little endian")
    if syntax.is_encapsulated:
        _check_frame(dataset)
    try:
        values = pixel_array(dataset)
    except (RuntimeError, NotImplementedError):
        raise ImageError(f"is written in {named}, and damaged or in a form for which no decoder is here") from None
    return values.astype(np.uint16) & np.uint16(2**dataset.BitsStored - 1)


def _check_frame(dataset: Dataset) -> None:
    """A compressed picture has a size of its own: one that is larger than the file says would be decoded all the same. The boxes of a JP2
    file, which PS3.5 8.2.4 keeps out, can hold pydicom in an endless loop (3.0.2, get_j2k_parameters)."""
    from pydicom.encaps import get_frame

    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if frame.startswith(JP2):
        raise ImageError("holds a JP2 file; expected the bare JPEG 2000 codestream")
    try:
        with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as picture:
            size = picture.size
    except UnidentifiedImageError:
        return  # RLE, whose decoder knows how much it may write
    except Image.DecompressionBombError as cause:
        raise ImageError("holds a compressed picture that is absurdly large") from cause
    if size != (dataset.Columns, dataset.Rows):
        raise ImageError(f"says {dataset.Columns}x{dataset.Rows} px and holds a compressed picture of {size[0]}x{size[1]} px")


def _shades(dataset: Dataset) -> Pixels:
    """The grey of each stored value, uint8 `[2 ** bits]`, in the order of the bits."""
    bits = dataset.BitsStored
    stored = np.arange(2**bits, dtype=np.float64)
    if dataset.PixelRepresentation:
        stored[2 ** (bits - 1) :] -= 2**bits
    grey = _voi(dataset, *_modality(dataset, stored))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = WHITE - grey
    shades = np.floor(grey + LAST_DIGIT).clip(0, WHITE).astype(np.uint8)
    shades[_is_padding(dataset, stored)] = 0
    return shades


def _modality(dataset: Dataset, stored: Values) -> tuple[Values, Range]:
    """C.11.1: modality values of the stored ones, and the range that they can have. A LUT excludes a slope."""
    if dataset.get("ModalityLUTSequence"):
        values, bits = _looked_up(dataset, dataset.ModalityLUTSequence[0], stored)
        return values, (0, 2**bits - 1)
    slope, intercept = _first(dataset, "RescaleSlope"), _first(dataset, "RescaleIntercept")
    if slope == 0:
        raise ImageError("has a rescale slope of 0, which leaves no picture")
    values = stored * (1 if slope is None else slope) + (intercept or 0)
    return values, (float(values.min()), float(values.max()))


def _voi(dataset: Dataset, values: Values, allowed: Range) -> Values:
    """C.11.2: what is shown of the modality values, 0 to 255. Where a LUT and a window stand side by side the LUT is taken."""
    if dataset.get("VOILUTSequence"):
        shown, bits = _looked_up(dataset, dataset.VOILUTSequence[0], np.rint(values))
        return np.asarray(shown * WHITE / (2**bits - 1), np.float64)
    centre, width = _first(dataset, "WindowCenter"), _first(dataset, "WindowWidth")
    if centre is None or width is None:
        low, high = allowed
        return (values - low) * WHITE / (high - low)
    return _windowed(values, centre, width, str(dataset.get("VOILUTFunction") or "LINEAR").upper())


def _windowed(values: Values, centre: float, width: float, function: str) -> Values:
    """C.11.2.1.2 and C.11.2.1.3, by pydicom, told of 8 bits to be filled."""
    from pydicom import Dataset
    from pydicom.pixels.processing import apply_windowing

    if function not in VOI_FUNCTIONS:
        raise ImageError(f"has a VOI LUT function that is not known; expected one of {', '.join(VOI_FUNCTIONS)}")
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise ImageError(f"has a window of width {width:g}; expected at least 1")
    view = Dataset()
    view.PhotometricInterpretation, view.PixelRepresentation, view.BitsStored = "MONOCHROME2", 0, 8
    view.WindowCenter, view.WindowWidth, view.VOILUTFunction = centre, width, function
    shown: Values = apply_windowing(values, view)
    return shown


def _looked_up(dataset: Dataset, item: Dataset, values: Values) -> tuple[Values, int]:
    """C.11.1.1 and C.11.2.1.1: values through a LUT, and the bits of its entries. Below the first value mapped the first entry holds,
    behind the last one the last. Not by pydicom, whose apply_voi wraps at 256 entries where they have 8 bits."""
    entries, first, bits = (int(value) for value in item.LUTDescriptor)
    entries = entries % 2**16 or 2**16
    if bits not in BITS:
        raise ImageError(f"has a lookup table of {bits} bits an entry; expected 8 to 16")
    table = _entries(item.LUTData, entries, "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">")
    if len(table) < entries:
        raise ImageError(f"has a lookup table of {len(table)} entries where it announces {entries}")
    places = np.clip(values - first, 0, entries - 1).astype(np.int64)
    return np.asarray(table[places], np.float64), bits


def _entries(data: Any, entries: int, order: str) -> Values:
    """Bytes hold an entry each, or 16 bits each, which their number tells; US comes as numbers."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, np.float64))
    kind = np.dtype(f"{order}u2") if len(data) >= 2 * entries else np.dtype(np.uint8)
    return np.frombuffer(data, kind, len(data) // kind.itemsize).astype(np.float64)


def _is_padding(dataset: Dataset, stored: Values) -> NDArray[np.bool_]:
    """C.7.5.1.1.2: stored values, before any LUT, that stand for no film: the padding value, or all up to the range limit."""
    value = _first(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(len(stored), np.bool_)
    limit = _first(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    return (stored >= low) & (stored <= high)


def _first(dataset: Dataset, keyword: str) -> float | None:
    """The first value of a number; None where the file has none."""
    from pydicom.multival import MultiValue

    value = dataset.get(keyword)
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else None
    if value is None or value == "":
        return None
    if not math.isfinite(value):
        raise ImageError(f"has no number as its {keyword}")
    return float(value)
