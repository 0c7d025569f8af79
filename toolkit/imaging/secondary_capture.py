"""A picture about a DICOM film, as a DICOM Secondary Capture (PS3.3 A.8.1) of the film's own patient and study: for the archive that the
film came from, and for viewers that know nothing else."""

from __future__ import annotations

import importlib.util
import io
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from toolkit import __version__
from toolkit.errors import ImageError, MissingDependencyError
from toolkit.imaging.dicom_file import quiet, read_elements

if TYPE_CHECKING:
    from pydicom import Dataset

IDENTITY = ("StudyInstanceUID", "SOPInstanceUID", "SOPClassUID")
KEPT = (  # whose film it is, and what it is a part of: empty where the film does not say it (type 2; C.7.1.1, C.7.2.1, C.7.6.1)
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "PatientOrientation"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
)
CHARACTERS = "SpecificCharacterSet"
SERIES_NUMBER = 9001  # beyond those that a modality gives
LONGEST_DESCRIPTION = 64  # of the value representation LO


class About(NamedTuple):
    """What a capture says. `sources`: what it depends on beside the film; the same film and sources give the same UIDs, so that an archive
    that is given a capture twice keeps it once."""

    title: str
    comment: str
    sources: tuple[str, ...]


def check_available() -> None:
    """Raise MissingDependencyError when the extra `dicom` is not installed."""
    if importlib.util.find_spec("pydicom") is None:
        raise MissingDependencyError("pydicom", "dicom", "Writing a DICOM Secondary Capture")


def secondary_capture(film: bytes, picture: Image.Image, about: About) -> bytes:
    """A DICOM file with `picture` (RGB) in the study of `film` (a DICOM file's bytes), which it names as its source.

    Patient and study are the film's own, and so it is as private as the film. Raises ImageError for a film that names no study or whose
    patient's data are damaged; no text of the film enters the message.
    """
    try:
        with quiet():
            source = read_elements(film, (CHARACTERS, *IDENTITY, *KEPT))
            capture = _filed_with(source)
            _describe(capture, about, source)
            _add_pixels(capture, picture.convert("RGB"))
            return _written(capture)
    except ImageError:
        raise
    except Exception:  # pydicom meets odd values with errors of every kind, whose text may quote the patient's data: it is not chained
        raise ImageError("has damaged data about its patient or study, so that nothing can be filed with it") from None


def _filed_with(source: Dataset) -> Dataset:
    """A dataset of the same patient and study."""
    from pydicom import Dataset

    for name in IDENTITY:
        if not source.get(name):
            raise ImageError(f"names no {name}, so that nothing can be filed with it")
    capture = Dataset()
    if CHARACTERS in source:
        capture[CHARACTERS] = source[CHARACTERS]
    for name in KEPT:
        setattr(capture, name, source.get(name))
    return capture


def _describe(capture: Dataset, about: About, source: Dataset) -> None:
    """What the capture is, of what, by whom (C.7.3.1, C.7.5.1, C.7.6.1, C.8.6.1, C.12.1)."""
    from pydicom import Dataset
    from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

    now = datetime.now()  # local, as DICOM has it
    capture.SOPClassUID = SecondaryCaptureImageStorage
    capture.SOPInstanceUID = generate_uid(entropy_srcs=["capture", source.SOPInstanceUID, about.comment, *about.sources])
    capture.SeriesInstanceUID = generate_uid(entropy_srcs=["series", source.StudyInstanceUID, *about.sources])
    capture.SeriesNumber, capture.InstanceNumber = SERIES_NUMBER, 1
    capture.Modality, capture.ConversionType = "OT", "WSD"  # other; made at a workstation
    capture.BodyPartExamined = "CHEST"
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.Manufacturer, capture.SoftwareVersions = "cxr-edge", __version__
    capture.ContentDate = capture.DateOfSecondaryCapture = now.strftime("%Y%m%d")
    capture.ContentTime = capture.TimeOfSecondaryCapture = now.strftime("%H%M%S")
    capture.SeriesDescription = about.title[:LONGEST_DESCRIPTION]
    capture.DerivationDescription, capture.ImageComments = about.title, about.comment
    capture.BurnedInAnnotation = "NO"  # none that tells who the patient is
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    capture.SourceImageSequence = [item]


def _add_pixels(capture: Dataset, picture: Image.Image) -> None:
    """RGB, 8 bits a sample (C.7.6.3)."""
    capture.SamplesPerPixel, capture.PhotometricInterpretation, capture.PlanarConfiguration = 3, "RGB", 0
    capture.Columns, capture.Rows = picture.size
    capture.BitsAllocated = capture.BitsStored = 8
    capture.HighBit, capture.PixelRepresentation = 7, 0
    data = picture.tobytes()
    capture.PixelData = data + bytes(len(data) % 2)  # PS3.5 8.1.1: an even length
    capture["PixelData"].VR = "OB"


def _written(capture: Dataset) -> bytes:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    capture.file_meta = FileMetaDataset()
    capture.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    capture.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
