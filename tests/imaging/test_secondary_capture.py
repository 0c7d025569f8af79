"""What is filed with a DICOM film: read back by pydicom alone, against the film's own elements."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import SecondaryCaptureImageStorage

from tests.imaging.test_dicom import GREYS, film, written
from toolkit import __version__
from toolkit.errors import ImageError, MissingDependencyError
from toolkit.imaging.secondary_capture import About, check_available, secondary_capture

ABOUT = About(
    "Screening aid, no diagnosis: NORMAL 0.123 (cxr-edge small)", "NORMAL: probability 0.123\nbundle abc", ("abc", "onnxruntime-int8")
)
COLOURS = np.random.default_rng(3).integers(0, 256, (21, 34, 3), np.uint8)
STUDY = {
    "StudyInstanceUID": "2.25.7",
    "StudyDate": "20260131",
    "StudyTime": "120000",
    "StudyID": "S1",
    "AccessionNumber": "A77",
    "ReferringPhysicianName": "Ng^Ada",
    "PatientID": "P-12",
    "PatientBirthDate": "20240229",
    "PatientSex": "F",
    "PatientOrientation": ["R", "F"],
}


def capture(about: About = ABOUT, **elements: Any) -> Dataset:
    raw = written(film(GREYS, **{**STUDY, **elements}))
    return dcmread(io.BytesIO(secondary_capture(raw, Image.fromarray(COLOURS), about)))


def test_it_lies_in_the_film_s_study_and_names_the_film() -> None:
    found = capture()
    assert found.SOPClassUID == found.file_meta.MediaStorageSOPClassUID == SecondaryCaptureImageStorage
    assert {name: found[name].value for name in STUDY} == STUDY
    assert found.PatientName == "Doe^Jane"
    source = found.SourceImageSequence[0]
    assert (source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID) == ("1.2.840.10008.5.1.4.1.1.1.1", "2.25.1")
    assert found.SeriesInstanceUID != "2.25.7"
    assert (found.ConversionType, found.Modality, found.BurnedInAnnotation) == ("WSD", "OT", "NO")


def test_it_says_what_was_found_and_by_what() -> None:
    found = capture()
    assert found.SeriesDescription == ABOUT.title
    assert found.DerivationDescription == ABOUT.title
    assert found.ImageComments.splitlines() == ABOUT.comment.splitlines()
    assert (found.Manufacturer, found.SoftwareVersions) == ("cxr-edge", __version__)


def test_the_picture_is_kept_as_it_is() -> None:
    found = capture()
    assert (found.PhotometricInterpretation, found.Rows, found.Columns) == ("RGB", 21, 34)
    assert np.array_equal(found.pixel_array, COLOURS)


def test_the_same_film_and_model_have_the_same_names_and_others_have_others() -> None:
    one, same = capture(), capture()
    assert (one.SOPInstanceUID, one.SeriesInstanceUID) == (same.SOPInstanceUID, same.SeriesInstanceUID)
    other_film, other_model = capture(SOPInstanceUID="2.25.2"), capture(ABOUT._replace(sources=("def", "onnxruntime-int8")))
    assert (other_film.SeriesInstanceUID == one.SeriesInstanceUID, other_film.SOPInstanceUID == one.SOPInstanceUID) == (True, False)
    assert other_model.SeriesInstanceUID != one.SeriesInstanceUID
    assert other_model.SOPInstanceUID != one.SOPInstanceUID


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "عبد^الله"),
        ("ISO_IR 126", "Διονυσιος"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 100", "Buc^Jérôme"),
        (None, "Doe"),
    ],
)
def test_names_in_every_script(charset: Any, name: str) -> None:
    found = capture(SpecificCharacterSet=charset, PatientName=name)
    assert str(found.PatientName) == name


@pytest.mark.parametrize("left_out", [*sorted(set(STUDY) - {"StudyInstanceUID"}), "PatientName"])
def test_what_the_film_does_not_say_is_empty(left_out: str) -> None:
    found = capture(**{left_out: None})
    assert not found[left_out].value


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_a_film_of_no_study_has_no_capture(missing: str) -> None:
    dataset = film(GREYS, **STUDY)
    raw = io.BytesIO()
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    del dataset[missing]
    dataset.save_as(raw, enforce_file_format=True)
    with pytest.raises(ImageError, match=f"names no {missing}, so that nothing can be filed with it"):
        secondary_capture(raw.getvalue(), Image.fromarray(COLOURS), ABOUT)


def test_damaged_data_are_refused_without_being_quoted() -> None:
    item = Dataset()
    item.PatientID = "secret"
    dataset = film(GREYS, **STUDY)
    del dataset["StudyDate"]
    dataset.add_new("StudyDate", "SQ", Sequence([item]))
    with pytest.raises(ImageError, match="has damaged data about its patient or study") as refused:
        secondary_capture(written(dataset), Image.fromarray(COLOURS), ABOUT)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingDependencyError, match=r"cxr-edge\[dicom\]"):
        check_available()
