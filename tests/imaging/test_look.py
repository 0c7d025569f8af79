"""Four figures of a film, against hand arithmetic."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from toolkit.imaging.look import look_of


def test_a_checkerboard_by_hand() -> None:
    board = np.indices((8, 8)).sum(axis=0) % 2 * 200
    look = look_of(np.zeros((30, 50), np.uint8), board.astype(np.uint8))
    assert (look.longer_px, look.brightness, look.contrast) == (50, 100.0, 100.0)
    assert look.sharpness == pytest.approx(8.0)  # each pixel against four others: 4 * 200 either way, over a contrast of 100


def test_a_flat_film_has_neither_contrast_nor_sharpness() -> None:
    look = look_of(np.zeros((16, 16), np.uint8), np.full((16, 16), 7, np.uint8))
    assert look[1:] == (7.0, 0.0, 0.0)


def test_a_blurred_film_is_less_sharp() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    soft = np.asarray(Image.fromarray(noise).resize((16, 16), Image.Resampling.BILINEAR).resize((64, 64)))
    assert look_of(noise, soft).sharpness < look_of(noise, noise).sharpness / 2


def test_the_size_of_a_file_is_read_from_its_header() -> None:
    stream = io.BytesIO()
    Image.new("L", (640, 480)).save(stream, "JPEG")
    assert look_of(stream.getvalue()[:400] + b"torn", np.zeros((16, 16), np.uint8)).longer_px == 640
