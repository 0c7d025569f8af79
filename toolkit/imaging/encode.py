"""Grey pixels -> file bytes, in the forms that a film can reach a clinic in; for tests of decoding, not for the clinic."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toolkit.core.files import sha256_of_bytes
from toolkit.errors import MissingDependencyError
from toolkit.imaging.decode import Pixels

SIXTEEN = 257  # 255 * 257 = 65535
DIGITAL_X_RAY = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation, PS3.6 table A-1


def to_png(pixels: Pixels | NDArray[np.uint16]) -> bytes:
    """8- or 16-bit grey `[H, W]`."""
    return _saved(Image.fromarray(pixels), "PNG", compress_level=1)


def to_jpeg(pixels: Pixels, quality: int) -> bytes:
    """8-bit grey `[H, W]`, `quality` 1 to 95 as libjpeg counts it."""
    return _saved(Image.fromarray(pixels), "JPEG", quality=quality)


def to_dicom(pixels: Pixels | NDArray[np.uint16], photometric: str = "MONOCHROME2") -> bytes:
    """8- or 16-bit grey `[H, W]`, all bits stored, explicit VR little endian, no window. `photometric` is declared; the pixels are not
    inverted. The same pixels give the same bytes. Raises MissingDependencyError without pydicom."""
    try:
        from pydicom import Dataset
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, generate_uid
    except ImportError as cause:
        raise MissingDependencyError("pydicom", "dicom", "Writing DICOM") from cause
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID = DIGITAL_X_RAY
    film.SOPInstanceUID = generate_uid(entropy_srcs=[photometric, str(pixels.shape), sha256_of_bytes(data)])
    film.Modality, film.BodyPartExamined = "DX", "CHEST"
    film.Rows, film.Columns = pixels.shape
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, photometric
    film.BitsAllocated = film.BitsStored = 8 * pixels.itemsize
    film.HighBit, film.PixelRepresentation = film.BitsStored - 1, 0
    film.PixelData = data + bytes(len(data) % 2)  # PS3.5 8.1.1: an even length
    film["PixelData"].VR = "OB" if film.BitsStored == 8 else "OW"
    stream = io.BytesIO()
    film.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def deepened(pixels: Pixels) -> NDArray[np.uint16]:
    """8 bits as 16: white stays white."""
    return pixels.astype(np.uint16) * np.uint16(SIXTEEN)


ENCODERS: Mapping[str, Callable[[Pixels], bytes]] = {
    "png": to_png,
    "png16": lambda pixels: to_png(deepened(pixels)),
    "dicom8": to_dicom,
    "dicom16": lambda pixels: to_dicom(deepened(pixels)),
    "dicom16-monochrome1": lambda pixels: to_dicom(deepened(255 - pixels), "MONOCHROME1"),
    "jpeg-95": partial(to_jpeg, quality=95),
    "jpeg-90": partial(to_jpeg, quality=90),
    "jpeg-75": partial(to_jpeg, quality=75),
}


def _saved(picture: Image.Image, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()
