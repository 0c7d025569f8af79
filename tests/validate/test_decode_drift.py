"""Decode drift: figures by hand, exact forms on drawn films, real films against their twins."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from tests.conftest import EDGE, KERMANY, ROOT, SHARED, needs_kermany
from toolkit.core.bundle import Bundle
from toolkit.core.codec import decode_json, encode_json
from toolkit.core.drift import DecodeDrift
from toolkit.core.operating import OperatingPoint
from toolkit.errors import DataError, MissingDependencyError
from toolkit.imaging import encode
from toolkit.imaging.decode import Pixels, decode_grey
from toolkit.imaging.prepare import prepare_file, prepare_raw
from toolkit.infer.predictor import Predictor
from toolkit.validate import decode_drift
from toolkit.validate.decode_drift import EXACT, FORMS, TWINS, Limit, compare, measure

FULLSIZE = SHARED / "data" / "chest_xray_fullsize"
needs_fullsize = pytest.mark.skipif(not FULLSIZE.is_dir(), reason="the full-size Kermany films are not here")
EXACT_FORMS = ("png", "png16", "dicom8", "dicom16", "dicom16-monochrome1")


def drawn(seed: int, level: int = 128, shape: tuple[int, int] = (150, 201)) -> Pixels:
    """Noise round a grey level; an odd number of pixels."""
    return np.clip(np.random.default_rng(seed).normal(level, 40, shape), 0, 255).astype(np.uint8)


def array(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, np.float32)


@pytest.fixture
def predictor(bundle: Path) -> Predictor:
    return Predictor(Bundle(bundle))


def test_differences_are_absolute_and_changed_calls_are_named() -> None:
    point = OperatingPoint(threshold=0.5, temperature=2.0)
    found = compare("x", ("a", "b", "c", "d"), (array(-1, 0.5, 2, 4), array(-1, -0.5, 2.5, 4)), point, Limit(0.4, 1.0))
    assert (found.mean_logit, found.largest_logit, found.films) == (0.375, 1.0, 4)  # 0, 1, .5, 0
    shift = 2 * (1 / (1 + np.exp(-0.25)) - 0.5)  # from .5 to -.5, temperature 2
    other = 1 / (1 + np.exp(-1.25)) - 1 / (1 + np.exp(-1.0))
    assert found.largest_probability == pytest.approx(shift)
    assert found.mean_probability == pytest.approx((shift + other) / 4)
    assert (found.changed, found.verdict, found.reason, found.identical) == (("b",), "pass", "", None)


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (Limit(0.37, 1.0), "the mean logit difference is 0.375, limit 0.37"),
        (Limit(0.4, 0.9), "the largest logit difference is 1, limit 0.9"),
        (Limit(0.1, 0.1), "the mean logit difference is 0.375, limit 0.1; the largest logit difference is 1, limit 0.1"),
    ],
)
def test_what_is_beyond_a_limit_is_said(limit: Limit, reason: str) -> None:
    found = compare("x", ("a", "b", "c", "d"), (array(-1, 0.5, 2, 4), array(-1, -0.5, 2.5, 4)), OperatingPoint(), limit)
    assert (found.verdict, found.reason) == ("fail", reason)


def test_a_score_that_is_no_number_fails() -> None:
    assert compare("x", ("a",), (array(0), array(float("nan"))), OperatingPoint(), Limit(9, 9)).verdict == "fail"


def test_an_exact_form_fails_on_one_other_pixel_although_the_score_is_the_same() -> None:
    found = compare("png", ("a", "b", "c"), (array(1, 2, 3), array(1, 2, 3)), OperatingPoint(), EXACT, identical=2)
    assert (found.verdict, found.reason) == ("fail", "1 of 3 films come back with other pixels")
    assert compare("png", ("a",), (array(1), array(1)), OperatingPoint(), EXACT, identical=1).verdict == "pass"
    assert compare("jpeg", ("a",), (array(1), array(1)), OperatingPoint(), Limit(0.1, 0.1), identical=0).verdict == "pass"


def test_exact_forms_have_the_limit_zero_and_the_others_have_not() -> None:
    assert tuple(name for name, form in FORMS.items() if form.limit == EXACT) == EXACT_FORMS
    assert all(0 < form.limit.mean < form.limit.largest for name, form in FORMS.items() if name not in EXACT_FORMS)


def test_every_form_of_drawn_films(predictor: Predictor) -> None:
    films: dict[str, bytes | Pixels] = {f"{level}": drawn(level, level) for level in (60, 128, 200)}
    films["a file"] = encode.to_jpeg(drawn(9), 80)
    found = measure(predictor, films)
    assert (found.films, found.verdict, [row.form for row in found.rows]) == (4, "pass", list(FORMS))
    for row in found.rows[: len(EXACT_FORMS)]:
        assert (row.identical, row.largest_logit, row.changed) == (4, 0, ())
    by_name = {row.form: row for row in found.rows}
    assert by_name["jpeg-75"].identical == by_name["jpeg-95-reduced"].identical == 0
    assert by_name["jpeg-75"].largest_logit > 0  # the instrument sees what JPEG does
    assert decode_json(encode_json(found), DecodeDrift, "it") == found


def test_reduced_decoding_is_measured_as_such(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(raw: bytes, least: int | None = None) -> Image.Image:
        seen.append((least, decode_grey(raw, least).size))
        return decode_grey(raw, least)

    monkeypatch.setattr(decode_drift, "decode_grey", watched)
    measure(predictor, {"a": drawn(1)}, ("jpeg-95", "jpeg-95-reduced"))
    assert seen == [(None, (201, 150)), (2 * EDGE, (101, 75))]


def test_a_decoder_that_is_wrong_in_one_grey_level_is_found(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    def brighter(pixels: Pixels) -> bytes:
        return encode.to_png(np.minimum(pixels, 254) + np.uint8(1))

    monkeypatch.setattr(decode_drift, "ENCODERS", {**encode.ENCODERS, "png": brighter})
    found = measure(predictor, {"a": drawn(1), "b": drawn(2)}, ("png", "png16"))
    assert [(row.verdict, row.reason) for row in found.rows] == [("fail", "2 of 2 films come back with other pixels"), ("pass", "")]
    assert found.rows[0].largest_logit == pytest.approx(0.1, abs=0.01)  # the graph's logit rises by .1 a grey level
    assert found.verdict == "fail"


def test_no_film_is_an_error(predictor: Predictor) -> None:
    with pytest.raises(DataError, match="There is no film to write in other forms"):
        measure(predictor, {})


def test_a_film_that_cannot_be_decoded_is_named(predictor: Predictor) -> None:
    with pytest.raises(DataError, match=r"b.png is empty \(0 bytes\); leave it out"):
        measure(predictor, {"a": drawn(1), "b.png": b""})


def test_without_pydicom_the_extra_is_named(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert measure(predictor, {"a": drawn(1)}, ("png",)).verdict == "pass"
    with pytest.raises(MissingDependencyError, match=r"Writing DICOM needs the package 'pydicom'.*'cxr-edge\[dicom\]'"):
        measure(predictor, {"a": drawn(1)}, ("dicom8",))


def test_files_hold_what_their_form_says() -> None:
    pixels = drawn(3)
    png = Image.open(io.BytesIO(encode.ENCODERS["png16"](pixels)))
    assert png.mode == "I;16"
    assert np.array_equal(np.asarray(png), pixels.astype(int) * 257)
    film = dcmread(io.BytesIO(encode.ENCODERS["dicom16-monochrome1"](pixels)))
    assert (film.PhotometricInterpretation, film.BitsStored, "PatientName" in film, "WindowCenter" in film) == (
        "MONOCHROME1",
        16,
        False,
        False,
    )
    assert np.array_equal(film.pixel_array, 65535 - pixels.astype(int) * 257)
    tables = {quality: Image.open(io.BytesIO(encode.ENCODERS[f"jpeg-{quality}"](pixels))).quantization[0] for quality in (95, 90, 75)}
    assert sum(tables[95]) < sum(tables[90]) < sum(tables[75])


@pytest.mark.parametrize("form", encode.ENCODERS)
def test_the_same_pixels_give_the_same_file(form: str) -> None:
    assert encode.ENCODERS[form](drawn(4)) == encode.ENCODERS[form](drawn(4))


@needs_kermany
@needs_fullsize
def test_full_size_films_score_like_their_twins() -> None:
    judge = Predictor(Bundle(ROOT / "exported" / "szanet"), "onnxruntime-fp32")
    paths = sorted(FULLSIZE.rglob("*.jpeg"))
    twins = {path.name: path for path in KERMANY.rglob("*.jpeg")}
    both = [
        np.stack([prepare_file(path, judge.preprocessing)[None] for path in some]) for some in (paths, [twins[path.name] for path in paths])
    ]
    full, small = (judge.session.logits(images) for images in both)
    found = compare("twins", [path.name for path in paths], (small, full), judge.artifact.operating, TWINS)
    assert (len(paths), found.verdict, found.reason) == (60, "pass", "")
    assert found.mean_logit > 0.05  # they are not the same pixels: it would be no test


@needs_fullsize
def test_exact_forms_of_real_films_are_identical() -> None:
    judge = Predictor(Bundle(ROOT / "exported" / "szanet"), "onnxruntime-fp32")
    films: dict[str, bytes | Pixels] = {path.name: path.read_bytes() for path in sorted(FULLSIZE.rglob("*.jpeg"))[::6]}
    found = measure(judge, films)
    assert found.verdict == "pass", [row.reason for row in found.rows]
    assert {row.form: (row.identical, row.largest_logit) for row in found.rows if row.form in EXACT_FORMS} == dict.fromkeys(
        EXACT_FORMS, (10, 0)
    )
    for name, raw in films.items():
        assert isinstance(raw, bytes), name
        grey = np.asarray(decode_grey(raw))
        assert np.array_equal(prepare_raw(encode.ENCODERS["dicom16"](grey), judge.preprocessing), prepare_raw(raw, judge.preprocessing))
