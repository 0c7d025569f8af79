"""JPEG at reduced scale: smaller than the file's picture, never below twice the size that is asked for, always the same."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ImageError
from toolkit.imaging.decode import decode_grey, read_grey
from toolkit.imaging.prepare import least_px, prepare_file, prepare_raw

WANTED = Preprocessing(size_px=32)
REDUCED = Preprocessing(size_px=32, decode="reduced")


def waves(height: int, width: int) -> NDArray[np.uint8]:
    """Soft shadows, as films have them."""
    y, x = np.indices((height, width))
    return (128 + 60 * np.sin(9 * x / width) + 60 * np.cos(7 * y / height)).astype(np.uint8)


def jpeg(picture: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


# 64 is twice 32. The shorter edge decides: 130 // 64 = 2, 260 // 64 = 4, 520 // 64 = 8; an edge is rounded up.
@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((130, 130), (65, 65)),
        ((130, 1000), (65, 500)),
        ((1000, 130), (500, 65)),
        ((191, 128), (96, 64)),
        ((260, 301), (65, 76)),
        ((520, 640), (65, 80)),
        ((2000, 2000), (250, 250)),  # 1/8 is the least that JPEG has
    ],
)
def test_the_decoded_picture_is_smaller_and_still_twice_the_target(size: tuple[int, int], decoded: tuple[int, int]) -> None:
    width, height = size
    found = decode_grey(jpeg(Image.fromarray(waves(height, width))), least_px(REDUCED)).size
    assert found == decoded
    assert max(found) < max(size)
    assert min(found) >= 2 * WANTED.size_px


@pytest.mark.parametrize("size", [(127, 500), (500, 127), (64, 64), (20, 20)])
def test_a_picture_below_four_times_the_target_is_decoded_whole(size: tuple[int, int]) -> None:
    raw = jpeg(Image.fromarray(waves(size[1], size[0])))
    assert np.array_equal(np.asarray(decode_grey(raw, least_px(REDUCED))), np.asarray(decode_grey(raw)))
    assert np.array_equal(prepare_raw(raw, REDUCED), prepare_raw(raw, WANTED))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("shape", [(520, 520), (300, 700)])
def test_it_shows_the_same_film(mode: str, shape: tuple[int, int]) -> None:
    raw = jpeg(Image.fromarray(waves(*shape)).convert(mode))
    reduced, whole = prepare_raw(raw, REDUCED), prepare_raw(raw, WANTED)
    assert (reduced.shape, reduced.dtype) == ((32, 32), np.uint8)
    assert np.abs(reduced.astype(int) - whole).max() <= 3


def test_fine_detail_is_averaged_not_skipped() -> None:
    stripes = np.tile(np.array([0, 0, 255, 255], np.uint8), (512, 128))  # each block of 8 has the mean 127.5
    found = prepare_raw(jpeg(Image.fromarray(stripes)), REDUCED)
    assert np.abs(found.astype(int) - 127.5).max() <= 3


def test_reduced_decoding_is_deterministic_and_not_the_default(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 500), np.uint8))
    raw = jpeg(noise)
    (tmp_path / "film.jpeg").write_bytes(raw)
    first = prepare_raw(raw, REDUCED)
    assert np.array_equal(first, prepare_raw(raw, REDUCED))
    assert np.array_equal(first, prepare_file(tmp_path / "film.jpeg", REDUCED))
    assert not np.array_equal(first, prepare_raw(raw, WANTED))
    assert np.array_equal(prepare_file(tmp_path / "film.jpeg", WANTED), prepare_raw(raw, WANTED))
    assert read_grey(tmp_path / "film.jpeg").size == (500, 600)


def test_a_turned_jpeg_is_turned_after_it_was_reduced() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # row 0 is the right side
    pixels = waves(300, 600)
    turned = jpeg(Image.fromarray(np.ascontiguousarray(np.rot90(pixels))), exif=exif)
    found = decode_grey(turned, least_px(REDUCED))
    assert found.size == (150, 75) == decode_grey(jpeg(Image.fromarray(pixels)), least_px(REDUCED)).size
    assert np.abs(np.asarray(found).astype(int) - np.asarray(decode_grey(jpeg(Image.fromarray(pixels)), least_px(REDUCED)))).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_other_formats_are_decoded_whole(kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(waves(600, 500)).save(stream, kind)
    assert decode_grey(stream.getvalue(), least_px(REDUCED)).size == (500, 600)
    assert np.array_equal(prepare_raw(stream.getvalue(), REDUCED), prepare_raw(stream.getvalue(), WANTED))


def test_pixels_are_not_decoded_at_all() -> None:
    assert np.array_equal(prepare_raw(waves(600, 500), REDUCED), prepare_raw(waves(600, 500), WANTED))


def test_the_size_of_the_file_is_what_is_checked() -> None:
    with pytest.raises(ImageError, match="is 15x400 px; a film has at least 16 px on each edge"):
        decode_grey(jpeg(Image.new("L", (15, 400))), 4)


def test_a_truncated_jpeg_is_refused_at_reduced_scale_too() -> None:
    raw = jpeg(Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 500), np.uint8)))
    with pytest.raises(ImageError, match="is damaged or truncated"):
        prepare_raw(raw[: len(raw) // 2], REDUCED)
