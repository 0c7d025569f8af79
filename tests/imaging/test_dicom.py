"""What is shown of a DICOM film, rule by rule, on files of 16 x 16 pixels, against hand arithmetic."""

from __future__ import annotations

import io
import logging
import struct
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from benchmarks.fuzz import lossless_jpeg
from toolkit.errors import CxrEdgeError, ImageError
from toolkit.imaging.decode import SUFFIXES, decode_grey, read_grey
from toolkit.imaging.look import look_of

PATIENT = "Doe^Jane"
GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16)  # each value once
TWELVE = (np.arange(256, dtype=np.uint16) * 16).reshape(16, 16)  # 0, 16, ..., 4080
DEEP = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
Elements = dict[str, Any]


def film(pixels: NDArray[Any], **elements: Any) -> Dataset:
    """A film without LUTs: all bits stored, MONOCHROME2; `elements` replace or add, None leaves one out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "2.25.1"
    dataset.PatientName = PATIENT
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.HighBit = elements.get("HighBit", dataset.BitsStored - 1)
    for name in [name for name, value in elements.items() if value is None]:
        del dataset[name]
    return dataset


def written(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def coded(dataset: Dataset, syntax: str, frame: bytes) -> bytes:
    """With a compressed picture in place of the pixels."""
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    return written(dataset)


def decoded(pixels: NDArray[Any], **elements: Any) -> NDArray[np.uint8]:
    picture = decode_grey(written(film(pixels, **elements)))
    assert picture.mode == "L"
    return np.asarray(picture)


def lut(first: int, bits: int, entries: list[int]) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


def picture_bytes(pixels: NDArray[Any], kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def test_eight_bits_are_kept() -> None:
    assert np.array_equal(decoded(GREYS), GREYS)


def test_sixteen_bits_are_divided_by_257() -> None:
    assert np.array_equal(decoded(DEEP), GREYS)


def test_deep_dicom_and_deep_png_give_the_same_pixels() -> None:
    pixels = np.random.default_rng(5).integers(0, 2**16, (40, 30), np.uint16)
    assert np.array_equal(decoded(pixels), np.asarray(decode_grey(picture_bytes(pixels, "PNG"))))


@pytest.mark.parametrize("bits", range(8, 17))
def test_without_a_window_the_bits_stored_decide(bits: int) -> None:
    pixels = np.zeros((16, 16), np.uint16)
    pixels[:, 8:], pixels[:, 12:] = 2 ** (bits - 1), 2**bits - 1
    found = decoded(pixels, BitsStored=bits)
    assert found[0, [0, 8, 12]].tolist() == [0, 127 if bits > 8 else 128, 255]


def test_a_dark_film_stays_dark() -> None:
    assert set(decoded(np.full((16, 16), 257, np.uint16)).ravel()) == {1}  # 257 of 65535, although nothing is brighter


@pytest.mark.parametrize(("kind", "bits"), [(np.int8, 8), (np.int16, 12), (np.int16, 16)])
def test_signed_values_begin_at_the_lowest(kind: type[np.signedinteger], bits: int) -> None:
    pixels = np.full((16, 16), -(2 ** (bits - 1)), kind)
    pixels[:, 6:], pixels[:, 12:] = 0, 2 ** (bits - 1) - 1
    assert decoded(pixels, BitsStored=bits)[0, [0, 6, 12]].tolist() == [0, int(2 ** (bits - 1) * 255 / (2**bits - 1)), 255]


def test_bits_above_those_stored_do_not_count() -> None:
    assert np.array_equal(decoded(TWELVE | 0xF000, BitsStored=12), decoded(TWELVE, BitsStored=12))


def test_monochrome1_is_inverted() -> None:
    assert np.array_equal(decoded(255 - GREYS, PhotometricInterpretation="MONOCHROME1"), GREYS)
    assert np.array_equal(decoded(65535 - DEEP, PhotometricInterpretation="MONOCHROME1"), GREYS)


def test_monochrome1_mirrors_every_deep_value() -> None:
    pixels = np.random.default_rng(6).integers(0, 2**16, (64, 64), np.uint16)
    assert np.array_equal(decoded(65535 - pixels, PhotometricInterpretation="MONOCHROME1"), decoded(pixels))


# PS3.3 C.11.2.1.2.1, c = 100, w = 51: black up to c - .5 - (w - 1) / 2 = 74.5, white beyond 124.5, in between (x - 99.5) / 50 + .5.
# C.11.2.1.3.2, exact: black up to 74.5, white beyond 125.5, in between (x - 100) / 51 + .5. Sigmoid: 1 / (1 + exp(-4 (x - 100) / 51)).
@pytest.mark.parametrize(
    ("function", "shown"),
    [
        (None, {74: 0, 75: 2, 100: 130, 124: 252, 125: 255}),
        ("LINEAR", {74: 0, 75: 2, 100: 130, 124: 252, 125: 255}),
        ("LINEAR_EXACT", {74: 0, 75: 2, 100: 127, 124: 247, 125: 252, 126: 255}),
        ("SIGMOID", {0: 0, 75: 31, 100: 127, 124: 221, 255: 254}),
    ],
)
def test_a_window_shows_what_the_standard_says(function: str | None, shown: dict[int, int]) -> None:
    elements: Elements = {"WindowCenter": 100, "WindowWidth": 51} | ({"VOILUTFunction": function} if function else {})
    found = decoded(GREYS, **elements).ravel()
    assert {value: int(found[value]) for value in shown} == shown


def test_a_window_of_width_one_is_a_threshold() -> None:
    found = decoded(GREYS, WindowCenter=100, WindowWidth=1).ravel()
    assert found[[99, 100]].tolist() == [0, 255]


def test_a_window_over_all_values_changes_nothing() -> None:
    pixels = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(decoded(pixels, WindowCenter=32768, WindowWidth=65536), decoded(pixels))


def test_the_first_of_several_windows_is_taken() -> None:
    both = decoded(GREYS, WindowCenter=[100, 30], WindowWidth=[51, 200])
    assert np.array_equal(both, decoded(GREYS, WindowCenter=100, WindowWidth=51))


@pytest.mark.parametrize("elements", [{"WindowCenter": 100}, {"WindowWidth": 51}, {"WindowCenter": "", "WindowWidth": ""}])
def test_half_a_window_or_an_empty_one_is_none(elements: Elements) -> None:
    assert np.array_equal(decoded(GREYS, **elements), GREYS)


def test_a_window_counts_in_rescaled_units() -> None:
    found = decoded(GREYS, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=100, WindowWidth=51).ravel()
    plain = decoded(GREYS, WindowCenter=100, WindowWidth=51).ravel()
    assert np.array_equal(found[50:178], plain[0:256:2])  # 2 * 50 - 100 = 0


def test_rescaling_without_a_window_keeps_the_whole_range() -> None:
    assert np.array_equal(decoded(DEEP, RescaleSlope="0.25", RescaleIntercept=-1024), GREYS)


def test_a_negative_slope_turns_black_to_white() -> None:
    assert np.array_equal(decoded(GREYS, RescaleSlope=-1, RescaleIntercept=255), 255 - GREYS)


def test_a_modality_lut_is_applied_before_the_window() -> None:
    table = lut(10, 8, [0, 60, 120, 240])  # 10 and below are the first entry, 13 and above the last
    found = decoded(GREYS, ModalityLUTSequence=[table]).ravel()
    assert found[[0, 10, 11, 12, 13, 255]].tolist() == [0, 0, 60, 120, 240, 240]
    windowed = decoded(GREYS, ModalityLUTSequence=[table], WindowCenter=120, WindowWidth=1).ravel()
    assert windowed[[10, 11, 12, 13]].tolist() == [0, 0, 255, 255]


def test_a_modality_lut_takes_signed_values() -> None:
    pixels = np.tile(np.array([-30, -20, -19, 100], np.int16), (16, 4))
    found = decoded(pixels, ModalityLUTSequence=[lut(-20, 16, [0, 65535])])
    assert found[0, :4].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_voi_lut_of_many_entries_is_scaled_by_its_bits(bits: int) -> None:
    most = 2**bits - 1
    found = decoded(TWELVE, BitsStored=12, VOILUTSequence=[lut(0, bits, [most - value * most // 4095 for value in range(4096)])])
    expected = (most - TWELVE.astype(int) * most // 4095) * 255 // most
    assert np.array_equal(found, expected)


def test_the_first_of_several_voi_luts_is_taken_before_a_window() -> None:
    tables = [lut(0, 8, [7] * 256), lut(0, 8, [9] * 256)]
    assert set(decoded(GREYS, VOILUTSequence=tables, WindowCenter=100, WindowWidth=51).ravel()) == {7}


def test_a_voi_lut_counts_in_rescaled_units() -> None:
    found = decoded(GREYS, RescaleSlope="0.5", RescaleIntercept=-10, VOILUTSequence=[lut(0, 8, [11, 22, 33])]).ravel()
    assert found[[0, 20, 22, 24, 255]].tolist() == [11, 11, 22, 33, 33]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(("kind", "bits"), [("u1", 8), ("u2", 8), ("u2", 12)])
def test_a_lut_may_lie_as_bytes_or_as_words(syntax: str, kind: str, bits: int) -> None:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    item, entries = Dataset(), np.arange(255, -1, -1)
    item.add_new("LUTDescriptor", "US", [256, 0, bits])
    item.add_new("LUTData", "OW", entries.astype(f"{order}{kind}").tobytes())
    dataset = film(GREYS, VOILUTSequence=[item])
    dataset.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(np.asarray(decode_grey(written(dataset))), (255 - GREYS.astype(int)) * 255 // (2**bits - 1))


def test_padding_is_black_also_where_it_would_be_white() -> None:
    pixels = GREYS.copy()
    inverted = decoded(pixels, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=3).ravel()
    assert inverted[[2, 3, 4]].tolist() == [253, 0, 251]
    ranged = decoded(pixels, PixelPaddingValue=250, PixelPaddingRangeLimit=253).ravel()
    assert ranged[[249, 250, 253, 254]].tolist() == [249, 0, 0, 254]


def test_padding_is_told_by_the_stored_value() -> None:
    pixels = np.tile(np.array([-2000, 0], np.int16), (16, 8))
    found = decoded(pixels, PixelPaddingValue=-2000, RescaleSlope=-1, RescaleIntercept=0)
    assert found[0, :2].tolist() == [0, 127]


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (10, 200, 90)])
def test_colour_becomes_luma(colour: tuple[int, int, int]) -> None:
    luma = np.dot(colour, (0.299, 0.587, 0.114))  # ITU-R 601
    pixels = np.broadcast_to(np.array(colour, np.uint8), (16, 16, 3))
    rgb: Elements = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
    assert decoded(pixels, PhotometricInterpretation="RGB", **rgb) == pytest.approx(luma, abs=1)
    ybr = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("YCbCr"))
    assert decoded(ybr, PhotometricInterpretation="YBR_FULL", **rgb) == pytest.approx(luma, abs=2)


def test_deep_colour_is_scaled_by_its_bits() -> None:
    pixels = np.full((16, 16, 3), 4095, np.uint16)
    found = decoded(pixels, PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0, BitsStored=12)
    assert set(found.ravel()) == {255}


def test_a_compressed_film_is_read_where_a_decoder_is_here() -> None:
    assert np.array_equal(
        np.asarray(decode_grey(coded(film(GREYS), JPEG2000Lossless, picture_bytes(GREYS, "JPEG2000", no_jp2=True)))), GREYS
    )
    blocks = np.kron(np.array([[0, 200], [90, 255]], np.uint8), np.ones((8, 8), np.uint8))
    found = np.asarray(decode_grey(coded(film(blocks), JPEGBaseline8Bit, picture_bytes(blocks, "JPEG", quality=95))))
    assert found == pytest.approx(blocks.astype(float), abs=3)
    dataset = film(DEEP)
    dataset.compress(RLELossless)
    assert np.array_equal(np.asarray(decode_grey(written(dataset))), GREYS)


NOISE = np.random.default_rng(8).integers(0, 2**12, (40, 30), np.uint16)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.57", JPEGLosslessSV1])
@pytest.mark.parametrize("pixels", [GREYS, DEEP, TWELVE, NOISE, NOISE.astype(np.uint8)], ids=["8", "16", "12", "noise", "noise of 8"])
def test_jpeg_lossless_keeps_each_pixel(pixels: NDArray[Any], syntax: str) -> None:
    found = np.asarray(decode_grey(coded(film(pixels), syntax, lossless_jpeg(pixels))))
    assert np.array_equal(found, decoded(pixels))


@pytest.mark.parametrize("frame", [lambda raw: raw[: len(raw) // 2], lambda raw: raw[:40], lambda raw: raw[:2] + bytes(40)])
def test_a_damaged_lossless_jpeg_is_refused_or_shows_what_is_there(frame: Callable[[bytes], bytes]) -> None:
    raw = coded(film(NOISE), JPEGLosslessSV1, frame(lossless_jpeg(NOISE)))
    try:
        assert decode_grey(raw).size == (30, 40)
    except ImageError as refused:
        assert str(refused).startswith(("is ", "holds a "))


def test_a_lossless_jpeg_larger_than_announced_is_not_decoded() -> None:
    with pytest.raises(ImageError, match="says 16x16 px and holds a compressed picture of 30x40 px"):
        decode_grey(coded(film(DEEP), JPEGLosslessSV1, lossless_jpeg(NOISE)))


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_jpeg_2000_keeps_each_pixel(bits: int) -> None:
    pixels = NOISE % np.uint16(2**bits - 1)
    frame = picture_bytes(pixels, "JPEG2000", no_jp2=True)
    assert np.array_equal(np.asarray(decode_grey(coded(film(pixels), JPEG2000Lossless, frame))), decoded(pixels))


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("pixels", [NOISE, NOISE.astype(np.uint8), np.zeros_like(NOISE)], ids=["16", "8", "even"])
def test_runs_give_what_pydicom_makes_of_them(pixels: NDArray[Any], colour: bool) -> None:
    rgb: Elements = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    stored = np.ascontiguousarray(np.stack([pixels, pixels.T.reshape(pixels.shape), pixels[::-1]], axis=2)) if colour else pixels
    dataset = film(stored, **(rgb if colour else {}))
    plain = np.asarray(decode_grey(written(dataset)))
    dataset.compress(RLELossless)
    assert np.array_equal(np.asarray(decode_grey(written(dataset))), plain)


def test_runs_of_ybr_become_luma() -> None:
    ybr = np.ascontiguousarray(np.broadcast_to(np.array([90, 140, 110], np.uint8), (16, 16, 3)))
    dataset = film(ybr, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=0)
    plain = np.asarray(decode_grey(written(dataset)))
    dataset.compress(RLELossless)
    assert np.array_equal(np.asarray(decode_grey(written(dataset))), plain)
    assert plain == pytest.approx(90, abs=2)


def test_runs_may_reach_from_row_to_row() -> None:
    frame = struct.pack("<16L", 1, 64, *(0,) * 14) + bytes([257 - 128, 7, 257 - 128, 9])  # 128 of each
    found = np.asarray(decode_grey(coded(film(GREYS), RLELossless, frame))).ravel()
    assert (found[:128] == 7).all()
    assert (found[128:] == 9).all()


@pytest.mark.parametrize("frame", [bytes(64), struct.pack("<16L", 1, 64, *(0,) * 14), struct.pack("<16L", 1, 9**9, *(0,) * 14) + bytes(99)])
def test_runs_that_end_too_early_are_refused(frame: bytes) -> None:
    with pytest.raises(ImageError, match="is a DICOM file that is damaged|has 0 segments of runs; expected 1"):
        decode_grey(coded(film(GREYS), RLELossless, frame))


@pytest.mark.parametrize("bits", [8, 12])
def test_a_large_film_is_shown_in_strips_with_the_same_result(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = written(film(NOISE, BitsStored=bits, WindowCenter=100, WindowWidth=151))
    whole = np.asarray(decode_grey(raw))
    for pixels in (1, 30 * 7):
        monkeypatch.setattr("toolkit.imaging.dicom.STRIP_PIXELS", pixels)
        assert np.array_equal(np.asarray(decode_grey(raw)), whole)


def test_without_a_decoder_the_compression_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.imaging.lossless.is_available", lambda: False)
    with pytest.raises(
        ImageError, match="is written in JPEG Lossless.*, for which no decoder is here; save it with explicit VR little endian"
    ):
        decode_grey(coded(film(GREYS), JPEGLosslessSV1, lossless_jpeg(GREYS)))


def test_a_film_lies_as_it_is_stored() -> None:
    wide = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
    assert np.array_equal(decoded(wide), wide)


def test_one_frame_is_a_film() -> None:
    assert np.array_equal(decoded(GREYS, NumberOfFrames=1), GREYS)


REFUSED: dict[str, tuple[Elements, str]] = {
    "frames": ({"NumberOfFrames": 2, "PixelData": bytes(512)}, "holds 2 frames; a film has one"),
    "no pixels": ({"PixelData": None}, "is a DICOM file without pixel data, or ends before it"),
    "floats": ({"PixelData": None, "FloatPixelData": bytes(1024)}, "has floating-point pixels; expected 8 to 16 bits a pixel"),
    "palette": (
        {"PhotometricInterpretation": "PALETTE COLOR"},
        "has a photometric interpretation that is not read; expected one of MONOCHROME1,",
    ),
    "samples": ({"SamplesPerPixel": 3}, "has 3 samples a pixel where its photometric interpretation asks for 1"),
    "few bits": ({"BitsStored": 7}, "stores 7 of 8 bits a pixel; expected 8 to 16, of 8 or 16"),
    "more bits than allocated": ({"BitsStored": 12}, "stores 12 of 8 bits a pixel"),
    "many bits": ({"BitsAllocated": 32, "BitsStored": 32}, "stores 32 of 32 bits a pixel"),
    "high bit": ({"BitsAllocated": 16, "BitsStored": 12, "HighBit": 15}, "has its highest bit at 15 with 12 bits stored; expected 11"),
    "small": ({"Rows": 15}, "is 16x15 px; a film has at least 16 px on each edge"),
    "large": ({"Rows": 65535, "Columns": 65535}, r"is absurdly large \(65535x65535 px\); at most 50 million pixels are read"),
    "slope": ({"RescaleSlope": 0, "RescaleIntercept": 0}, "has a rescale slope of 0, which leaves no picture"),
    "width": ({"WindowCenter": 10, "WindowWidth": 0}, "has a window of width 0; expected at least 1"),
    "no number": ({"WindowCenter": "nan", "WindowWidth": 9}, "has no number as its WindowCenter"),
    "function": (
        {"WindowCenter": 10, "WindowWidth": 9, "VOILUTFunction": "CUBIC"},
        "VOI LUT function that is not known; expected one of LINEAR,",
    ),
    "lut bits": ({"VOILUTSequence": [lut(0, 4, [1, 2])]}, "has a lookup table of 4 bits an entry; expected 8 to 16"),
    "no rows": ({"Rows": None}, "is a DICOM file that is damaged or truncated"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of what the test writes
def test_what_is_no_film_is_refused(name: str) -> None:
    elements, sentence = REFUSED[name]
    raw = written(film(GREYS, **elements))
    with pytest.raises(ImageError, match=sentence):
        decode_grey(raw)


def test_a_short_lut_is_refused() -> None:
    item = lut(0, 8, [1, 2, 3])
    item.LUTDescriptor = [200, 0, 8]
    with pytest.raises(ImageError, match="has a lookup table of 3 entries where it announces 200"):
        decoded(GREYS, VOILUTSequence=[item])


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.102"])
def test_a_compression_without_a_decoder_is_named(syntax: str) -> None:
    with pytest.raises(
        ImageError, match="is written in .*(JPEG|MPEG).*, for which no decoder is here; save it with explicit VR little endian"
    ):
        decode_grey(coded(film(GREYS), syntax, b"\xff\xd8" + bytes(30)))


def test_a_transfer_syntax_that_nobody_knows_is_refused() -> None:
    raw = written(film(GREYS)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0", 1)
    with pytest.raises(ImageError, match="is written in a transfer syntax that is not known, for which no decoder is here"):
        decode_grey(raw)


def test_a_transfer_syntax_must_be_named() -> None:
    raw = written(film(GREYS)).replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x11\x00UI", 1)
    with pytest.raises(ImageError, match="is a DICOM file that does not name its transfer syntax"):
        decode_grey(raw)


def test_a_deflated_file_is_not_inflated() -> None:
    dataset = film(GREYS)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with pytest.raises(ImageError, match="is deflated as a whole, which is not read"):
        decode_grey(written(dataset))


def test_damaged_and_unreadable_compressed_pixels_are_refused() -> None:
    whole = picture_bytes(np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8), "JPEG")
    with pytest.raises(ImageError, match="is written in JPEG Baseline.*, and damaged or in a form for which no decoder is here"):
        decode_grey(coded(film(np.zeros((64, 64), np.uint8)), JPEGBaseline8Bit, whole[: len(whole) // 2]))
    with pytest.raises(ImageError, match="is written in JPEG Extended.*, and damaged or in a form for which no decoder is here"):
        decode_grey(coded(film(TWELVE, BitsStored=12), JPEGExtended12Bit, picture_bytes(GREYS, "JPEG")))


def test_a_compressed_picture_larger_than_announced_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pydicom.pixels.utils.pixel_array", lambda _: pytest.fail("pixels were decoded"))
    with pytest.raises(ImageError, match="says 16x16 px and holds a compressed picture of 900x800 px"):
        decode_grey(coded(film(GREYS), JPEGBaseline8Bit, picture_bytes(np.zeros((800, 900), np.uint8), "JPEG")))
    header = bytearray(picture_bytes(np.zeros((32, 32), np.uint8), "JPEG"))
    at = header.index(b"\xff\xc0") + 5
    header[at : at + 4] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(ImageError, match="says 16x16 px and holds a compressed picture of 65000x65000 px"):
        decode_grey(coded(film(GREYS), JPEGBaseline8Bit, bytes(header)))


def test_a_jp2_file_inside_is_refused() -> None:
    with pytest.raises(ImageError, match="holds a JP2 file; expected the bare JPEG 2000 codestream"):
        decode_grey(coded(film(GREYS), JPEG2000Lossless, picture_bytes(GREYS, "JPEG2000")))


def test_an_absurd_size_is_refused_before_the_pixels_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pydicom.pixels.utils.pixel_array", lambda _: pytest.fail("pixels were decoded"))
    with pytest.raises(ImageError, match="is absurdly large"):
        decode_grey(written(film(GREYS, Rows=50_001, Columns=1_000)))


def test_a_file_cut_anywhere_is_refused() -> None:
    raw = written(film(GREYS, WindowCenter=100, WindowWidth=51))
    for length in range(132, len(raw)):
        with pytest.raises(ImageError, match="is a DICOM file that|is a DICOM file without"):
            decode_grey(raw[:length])


def test_a_damaged_file_is_read_or_refused_and_nothing_else() -> None:
    raw, generator = (
        written(film(GREYS, VOILUTSequence=[lut(0, 8, list(range(256)))], WindowCenter=9, WindowWidth=9)),
        np.random.default_rng(2),
    )
    for _ in range(300):
        broken = bytearray(raw)
        for at in generator.integers(132, len(raw) - 256, 4):
            broken[at] = generator.integers(256)
        try:
            assert decode_grey(bytes(broken)).mode == "L"
        except CxrEdgeError as error:
            assert isinstance(error, ImageError)


def test_a_decoder_that_breaks_down_or_hangs_costs_one_film(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    raw = coded(film(DEEP), JPEGLosslessSV1, lossless_jpeg(DEEP))
    child = tmp_path / "child.py"
    monkeypatch.setattr("toolkit.imaging.lossless_child.__file__", str(child))
    monkeypatch.setattr("toolkit.imaging.lossless.PATIENCE_S", 1)
    for code, words in (
        ("import os; os.abort()", "that is damaged, or not of the kind that the file says"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "that is damaged"),
        ("print('short')", "that is damaged"),
        ("import time; time.sleep(60)", "that takes too long to be decoded"),
    ):
        child.write_text(code)
        with pytest.raises(ImageError, match=f"holds a JPEG lossless picture {words}"):
            decode_grey(raw)


def test_a_colour_picture_in_jpeg_lossless_is_refused() -> None:
    dataset = film(np.zeros((16, 16, 3), np.uint8), SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    with pytest.raises(ImageError, match="is a colour picture in JPEG lossless; only grey is read so"):
        decode_grey(coded(dataset, JPEGLosslessSV1, lossless_jpeg(GREYS)))


def test_a_suffix_is_not_needed_and_both_usual_ones_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(written(film(GREYS)))
    assert np.array_equal(np.asarray(read_grey(tmp_path / "film")), GREYS)
    assert {".dcm", ".dicom"} <= SUFFIXES


def test_a_film_that_is_also_a_tiff_is_dicom() -> None:
    raw = picture_bytes(np.zeros((20, 20), np.uint8), "TIFF")[:128].ljust(128, b"\0") + written(film(GREYS))[128:]
    assert np.array_equal(np.asarray(decode_grey(raw)), GREYS)


def test_a_dicom_film_has_a_look() -> None:
    assert look_of(written(film(np.full((20, 30), 9, np.uint8))), GREYS).longer_px == 30


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_warnings_and_log_stay_inside(caplog: pytest.LogCaptureFixture) -> None:
    raw, before = written(film(GREYS)).replace(b"2.25.1", b"2.25.X"), list(warnings.filters)
    raw = raw.replace(b"Doe^Jane", b"Doe\\=\xff==")
    level = logging.getLogger("pydicom").level
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        decode_grey(raw)
        decode_grey(written(film(GREYS)) + b"\x50\x00\x00\x00")
    assert (seen, caplog.records) == ([], [])
    assert (list(warnings.filters), logging.getLogger("pydicom").level) == (before, level)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_no_text_of_the_file_enters_a_message() -> None:
    raw = written(film(GREYS, WindowCenter=9, WindowWidth=9))
    assert raw.count(b"DS\x04\x009.0 ") == 2
    broken = raw.replace(b"DS\x04\x009.0 ", b"DS\x04\x00Doe ", 1)
    with pytest.raises(ImageError, match="^is a DICOM file that is damaged or truncated$") as refused:
        decode_grey(broken)
    assert "Doe" not in "".join(traceback.format_exception(refused.value))


def test_threads_give_the_same_pixels_and_restore_the_filters() -> None:
    raw, before, found = written(film(DEEP)), list(warnings.filters), []
    threads = [threading.Thread(target=lambda: found.append(np.asarray(decode_grey(raw)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(np.array_equal(pixels, GREYS) for pixels in found)
    assert list(warnings.filters) == before


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImageError, match=r"is DICOM, which needs the package 'pydicom': pip install 'cxr-edge\[dicom\]'"):
        decode_grey(bytes(128) + b"DICM" + bytes(10))


def test_other_pictures_do_not_need_pydicom() -> None:
    code = "import sys; sys.modules['pydicom'] = None; from toolkit.imaging import decode, dicom, encode, prepare; print('imported')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "imported\n", done.stderr
