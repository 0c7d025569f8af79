"""DICOM file bytes -> grey pixels: what the standard says is shown of an X-ray film, and nothing else that the file holds.

    stored value -> modality LUT or rescale -> VOI LUT or window -> grey, 0 to 255 -> inverted for MONOCHROME1
    (PS3.3 C.7.6.3)  (C.11.1)                (C.11.2)                                 (C.7.6.3.1.2)

A stored value has at most 16 bits, so the chain is walked once for each value that there can be; the pixels are looked up.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toolkit.errors import ImageError
from toolkit.imaging import lossless
from toolkit.imaging.decode import START_OF_SCAN, Pixels, check_size
from toolkit.imaging.dicom_file import quiet, read_elements
from toolkit.imaging.limits import Pieces, check_scans, memory_for

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

Values = NDArray[np.float64]
Range = tuple[float, float]

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
VOI_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")  # C.11.2.1.3
SHOWN = (  # what decides how a film looks; nothing else of a file is kept
    *("SpecificCharacterSet", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleIntercept", "RescaleSlope", "ModalityLUTSequence", "VOILUTSequence"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "FloatPixelData", "DoubleFloatPixelData", "PixelData"),
)
RLE = "1.2.840.10008.1.2.5"
JPEG_8, JPEG_12, JPEG_2000 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
LOSSLESS = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
# One decoder for each, so that a film has the same pixels wherever it is decoded.
PLUGINS = {JPEG_8: "pillow", JPEG_12: "pillow", **dict.fromkeys(JPEG_2000, "pillow")}
SAMPLE_BYTES = {RLE: 6, **dict.fromkeys((*PLUGINS, *LOSSLESS), 14)}  # of memory while a sample is decoded; OpenJPEG has 32 bits, twice
PLAIN_BYTES = 2
COLOUR_BYTES = 16  # the same where YBR becomes RGB, in floating point
JP2 = b"\0\0\0\x0cjP  "  # ISO/IEC 15444-1 I.5.1
J2K = b"\xff\x4f\xff\x51"  # SOC, SIZ
MAX_TILES, MAX_SEGMENTS = 4096, 1000
MAX_J2K_BYTES = 12_000_000  # OpenJPEG takes a quarter of a second for each million
JPEG_FILL = 0xFF
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # T.81 table B.1
STRIP_PIXELS = 2**20
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
    not read, or when pydicom is not installed. No other error leaves.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError as cause:
        raise ImageError("is DICOM, which needs the package 'pydicom': pip install 'cxr-edge[dicom]'") from cause
    try:
        with quiet():
            dataset = _read(raw)
            syntax = _syntax(dataset)
            with memory_for(_needed_bytes(dataset, syntax, raw)):
                return _shown(_stored(dataset, syntax), dataset)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("needs more memory than this machine has left") from None
    except Exception:  # pydicom meets damage with errors of every kind, whose text may quote the file: it is not chained
        raise ImageError("is a DICOM file that is damaged or truncated") from None


def _read(raw: bytes) -> Dataset:
    """The dataset, of which all that can be said before its pixels are decoded is checked."""
    dataset = read_elements(raw, SHOWN)
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


def _syntax(dataset: Dataset) -> UID:
    """The transfer syntax; raises ImageError for one that cannot be decoded here."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax: UID = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        raise ImageError("is a DICOM file that does not name its transfer syntax")
    try:
        if not syntax.is_encapsulated or syntax == RLE or (syntax in LOSSLESS and lossless.is_available()):
            return syntax
        if PLUGINS.get(syntax) in get_decoder(syntax).available_plugins:
            return syntax
    except (NotImplementedError, ValueError):
        pass
    raise ImageError(f"is written in {_named(syntax)}, for which no decoder is here; save it with explicit VR little endian")


def _named(syntax: UID) -> str:
    return syntax.name if syntax.name != syntax else "a transfer syntax that is not known"


def _needed_bytes(dataset: Dataset, syntax: UID, raw: bytes) -> int:
    """At most so much memory is taken to decode it, with the file's bytes."""
    each = SAMPLE_BYTES.get(syntax, PLAIN_BYTES)
    if dataset.PhotometricInterpretation not in (*GREY, "RGB"):
        each += COLOUR_BYTES
    pixels = int(dataset.Rows) * int(dataset.Columns)
    return pixels * (int(dataset.SamplesPerPixel) * each + 1) + len(raw) * (3 if syntax.is_encapsulated else 2)


def _stored(dataset: Dataset, syntax: UID) -> NDArray[np.integer[Any]]:
    """Each pixel as it is stored, `[H, W]`, or `[H, W, 3]` RGB, with the bits above those that count."""
    from pydicom.pixels.utils import pixel_array

    if syntax == RLE:
        return _from_rle(_frame(dataset), dataset)
    if syntax.is_encapsulated:
        _check_frame(_frame(dataset), dataset)
    if syntax in LOSSLESS:
        return _from_lossless(_frame(dataset), dataset, syntax)
    try:
        options: dict[str, Any] = {"view_only": True, "correct_unused_bits": False}  # no copy, no shift: the bits are masked later
        values: NDArray[np.integer[Any]] = pixel_array(dataset, index=0, decoding_plugin=PLUGINS.get(syntax, ""), **options)
    except (RuntimeError, NotImplementedError):
        raise ImageError(f"is written in {_named(syntax)}, and damaged or in a form for which no decoder is here") from None
    return values


def _shown(values: NDArray[np.integer[Any]], dataset: Dataset) -> Image.Image:
    """Stored values as grey, in strips: what stands between them would else need more memory than both."""
    shades = _shades(dataset) if dataset.PhotometricInterpretation in GREY else None
    mask, rows = np.uint16(2**dataset.BitsStored - 1), max(1, STRIP_PIXELS // values.shape[1])
    grey = np.empty(values.shape[:2], np.uint8)
    for top in range(0, len(grey), rows):
        stored = values[top : top + rows].astype(np.uint16) & mask
        grey[top : top + rows] = shades[stored] if shades is not None else _luma(stored, dataset.BitsStored)
    return Image.fromarray(grey)


def _luma(stored: NDArray[np.uint16], bits: int) -> Pixels:
    """RGB `[H, W, 3]` -> `[H, W]`."""
    return np.asarray(Image.fromarray((stored * np.uint32(WHITE) // (2**bits - 1)).astype(np.uint8)).convert("L"))


def _frame(dataset: Dataset) -> bytes:
    """The compressed picture, whole."""
    from pydicom.encaps import get_frame

    tables = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    return get_frame(Pieces(dataset.PixelData), 0, number_of_frames=1, extended_offsets=tables if all(tables) else None)


def _from_lossless(frame: bytes, dataset: Dataset, syntax: UID) -> NDArray[np.uint8 | np.uint16]:
    if dataset.SamplesPerPixel != 1:
        raise ImageError("is a colour picture in JPEG lossless; only grey is read so")
    size, bits = (dataset.Rows, dataset.Columns), (dataset.BitsAllocated, dataset.BitsStored)
    return lossless.decode_lossless(frame, size, bits, bool(dataset.PixelRepresentation), str.__str__(syntax))


def _from_rle(frame: bytes, dataset: Dataset) -> NDArray[np.uint16]:
    """PS3.5 annex G: a byte of each sample of each pixel after the other, the high one first, packed as TIFF's PackBits are, which Pillow
    unpacks; pydicom does it in Python, which takes seconds for a film and minutes for one that is made for it."""
    rows, columns, samples, deep = dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.BitsAllocated // 8
    count, *starts = struct.unpack_from("<16L", frame)
    if count != samples * deep:
        raise ImageError(f"has {count} segments of runs; expected {samples * deep}")
    ends = [*starts[1:count], len(frame)]
    values = np.zeros((rows * columns, samples), np.uint16)
    for place, (start, end) in enumerate(zip(starts, ends, strict=False)):
        plane = Image.frombytes("L", (rows * columns, 1), frame[start:end], "packbits", "L")
        values[:, place // deep] |= np.left_shift(np.asarray(plane)[0], 8 * (deep - 1 - place % deep), dtype=np.uint16)
    shaped = values.reshape(rows, columns, samples)
    if samples == 1:
        return shaped[..., 0]
    if dataset.PhotometricInterpretation == "RGB":
        return shaped
    from pydicom.pixels.processing import convert_color_space

    return convert_color_space(shaped.astype(np.uint8), dataset.PhotometricInterpretation, "RGB").astype(np.uint16)


def _check_frame(frame: bytes, dataset: Dataset) -> None:
    """A compressed picture has a size of its own: one that is larger than the file says would be decoded all the same. The boxes of a JP2
    file, which PS3.5 8.2.4 keeps out, can hold pydicom in an endless loop (3.0.2, get_j2k_parameters)."""
    if frame.startswith(JP2):
        raise ImageError("holds a JP2 file; expected the bare JPEG 2000 codestream")
    size = _size_of_j2k(frame) if frame.startswith(J2K) else _size_of_jpeg(frame)
    expected = dataset.Columns, dataset.Rows
    if size != expected:
        raise ImageError(f"says {expected[0]}x{expected[1]} px and holds a compressed picture of {size[0]}x{size[1]} px")
    check_scans(frame.count(START_OF_SCAN), size[0] * size[1])


def _size_of_jpeg(frame: bytes) -> tuple[int, int]:
    """ITU-T T.81 B.2.2: width and height, from the first frame header."""
    at = 2  # behind SOI
    for _ in range(MAX_SEGMENTS):
        at = frame.index(b"\xff", at)
        while frame[at] == JPEG_FILL:
            at += 1
        if frame[at] in FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", frame, at + 4)
            return width, height
        at += 1 + struct.unpack_from(">H", frame, at + 1)[0]
    raise ImageError(f"holds a JPEG of more than {MAX_SEGMENTS} segments before its picture; it is not read")


def _size_of_j2k(frame: bytes) -> tuple[int, int]:
    """ISO/IEC 15444-1 A.5.1: width and height; raises ImageError for more tiles than any film has, each of which costs memory, and
    for more bytes than are decoded in seconds."""
    if len(frame) > MAX_J2K_BYTES:
        raise ImageError(f"holds a JPEG 2000 picture of {len(frame)} bytes; at most {MAX_J2K_BYTES} are read; save it without compression")
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(">8L", frame, len(J2K) + 4)
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > MAX_TILES:
        raise ImageError(f"holds a JPEG 2000 picture of {tiles} tiles; a film has at most {MAX_TILES}")
    return right - left, bottom - top


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
