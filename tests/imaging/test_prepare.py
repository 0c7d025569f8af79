"""The one preparation of pixels, against hand arithmetic and pinned by digests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from toolkit.core.files import sha256_of_bytes
from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ImageError
from toolkit.imaging.prepare import prepare, prepare_file, prepare_raw

Filter = Literal["bilinear", "bicubic"]


def pattern(height: int, width: int) -> NDArray[np.uint8]:
    """A picture with gradients and hard edges, by arithmetic alone."""
    y, x = np.indices((height, width))
    return ((x * x + 3 * x * y + 7 * y + 90 * ((x // 9 + y // 7) % 2)) % 256).astype(np.uint8)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_a_picture_of_the_right_size_is_untouched(resample: Filter) -> None:
    pixels = pattern(32, 32)
    assert np.array_equal(prepare(Image.fromarray(pixels), Preprocessing(size_px=32, resample=resample)), pixels)


@pytest.mark.parametrize("shape", [(16, 16), (32, 32), (57, 91), (300, 200)])
def test_shape_and_type_are_those_of_the_graph(shape: tuple[int, int]) -> None:
    found = prepare_raw(pattern(*shape), Preprocessing(size_px=32))
    assert (found.shape, found.dtype) == ((32, 32), np.uint8)


# A bright column on a plain ground, halved: the filter is twice as wide as for enlarging, since it averages over what it removes.
# The column's centre 10.5 lies .5, 1.5, 2.5, 3.5 pixels, so .25, .75, 1.25, 1.75 filter units, from the centres of columns 5, 4, 6, 3.
# Bilinear weights 1 - d: .75 and .25 of a sum of 2. Bicubic (a = -1/2): .8672, .2266, -.0703, -.0234 of a sum of 2.
@pytest.mark.parametrize(
    ("resample", "ground", "bright", "columns_3_to_6"),
    [("bilinear", 0, 200, (0, 25, 75, 0)), ("bicubic", 50, 200, (48, 67, 115, 45))],
)
def test_halving_is_antialiased(resample: Filter, ground: int, bright: int, columns_3_to_6: tuple[int, ...]) -> None:
    pixels = np.full((32, 32), ground, np.uint8)
    pixels[:, 10] = bright
    expected = np.full((16, 16), ground, np.uint8)
    expected[:, 3:7] = columns_3_to_6
    assert np.array_equal(prepare_raw(pixels, Preprocessing(size_px=16, resample=resample)), expected)


def test_both_edges_are_squashed_to_the_size() -> None:
    pixels = np.zeros((20, 80), np.uint8)
    pixels[:, 40:] = 255  # the right half stays the right half, nothing is cropped or padded
    found = prepare_raw(pixels, Preprocessing(size_px=20))
    assert not found[:, :9].any()
    assert (found[:, 11:] == 255).all()


@pytest.mark.parametrize(
    ("resample", "digest"),
    [
        ("bilinear", "ff7bec43209dcd57a36801deceb9c2c924e468bae1210575130419abb6703fcc"),
        ("bicubic", "ac5fc652aa1fc14767d37f5966c0c860b187092f1578a2400b9a375f210c2d8c"),
    ],
)
def test_golden_pixels(resample: Filter, digest: str) -> None:
    found = prepare_raw(pattern(97, 131), Preprocessing(size_px=48, resample=resample))
    assert sha256_of_bytes(found.tobytes()) == digest


def test_file_bytes_and_pixels_are_prepared_alike(tmp_path: Path) -> None:
    pixels, wanted = pattern(60, 40), Preprocessing(size_px=32)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    (tmp_path / "film.png").write_bytes(stream.getvalue())
    expected = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(prepare_raw(pixels, wanted), expected)
    assert np.array_equal(prepare_raw(stream.getvalue(), wanted), expected)
    assert np.array_equal(prepare_file(tmp_path / "film.png", wanted), expected)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "film.png").write_bytes(b"")
    with pytest.raises(ImageError, match="is empty"):
        prepare_file(tmp_path / "film.png", Preprocessing())
