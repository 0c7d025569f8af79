"""Corruptions: reproducible, graver with each severity, and what their names say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from toolkit.data.phantom import draw_film
from toolkit.errors import InputError
from toolkit.imaging.corruptions import CORRUPTIONS, SEVERITIES, corrupt

FILMS = [np.asarray(draw_film(kind, 96, (number, 1))) for number in range(3) for kind in ("normal", "bacteria", "virus")]
each = pytest.mark.parametrize("name", CORRUPTIONS)


@each
def test_it_gets_graver_with_each_severity(name: str) -> None:
    changes = [
        np.mean([np.abs(corrupt(film, name, severity, str(row)).astype(int) - film).mean() for row, film in enumerate(FILMS)])
        for severity in SEVERITIES
    ]
    assert changes[0] == 0
    assert all(later > earlier for earlier, later in itertools.pairwise(changes)), changes


@each
def test_equal_seeds_give_equal_pixels_of_the_same_form(name: str) -> None:
    for edge in (16, 33):
        film = np.random.default_rng(0).integers(0, 256, (edge, edge), np.uint8)
        once, again = (corrupt(film, name, 5, "digest") for _ in range(2))
        assert np.array_equal(once, again)
        assert (once.shape, once.dtype) == ((edge, edge), np.uint8)


@pytest.mark.parametrize("name", ["noise", "gamma", "brightness", "rotation", "crop", "screen"])
def test_other_films_are_corrupted_otherwise(name: str) -> None:
    assert len({corrupt(FILMS[0], name, 3, str(seed)).tobytes() for seed in range(8)}) > 1


def test_noise_has_the_deviation_that_it_states() -> None:
    grey = np.full((200, 200), 128, np.uint8)
    moved = corrupt(grey, "noise", 3, "seed").astype(float) - grey
    assert moved.std() == pytest.approx(CORRUPTIONS["noise"].levels[2], rel=0.02)
    assert abs(moved.mean()) < 0.3


def test_brightness_and_gamma_by_hand() -> None:
    grey = np.full((16, 16), 128, np.uint8)
    assert {int(corrupt(grey, "brightness", 2, str(seed))[0, 0]) for seed in range(20)} == {104, 152}
    up, down = 255 * (128 / 255) ** (1 / 1.6), 255 * (128 / 255) ** 1.6
    assert {int(corrupt(grey, "gamma", 3, str(seed))[0, 0]) for seed in range(20)} == {round(up), round(down)}


def test_a_border_is_black_and_as_wide_as_it_says() -> None:
    framed = corrupt(np.full((100, 100), 200, np.uint8), "border", 4, "seed")
    assert framed[:11].max() == framed[:, -11:].max() == 0
    assert framed[11:89, 11:89].min() == 200


def test_a_rotation_keeps_the_middle_and_turns_the_rest() -> None:
    line = np.zeros((101, 101), np.uint8)
    line[:, 49:52] = 255
    turned = corrupt(line, "rotation", 5, "seed")
    assert turned[50, 50] == 255
    offset = int(turned[10].argmax()) - 50
    assert abs(offset) == pytest.approx(40 * np.tan(np.radians(16)), abs=2)


def test_a_crop_enlarges_what_is_left() -> None:
    square = np.zeros((100, 100), np.uint8)
    square[40:60, 40:60] = 255
    assert (corrupt(square, "crop", 5, "seed") > 127).sum() == pytest.approx(400 / 0.79**2, rel=0.05)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="There is no corruption 'fog'; there are: jpeg, noise"):
        corrupt(FILMS[0], "fog", 1, "seed")
    with pytest.raises(InputError, match="severities 0 to 5, not 6"):
        corrupt(FILMS[0], "jpeg", 6, "seed")
