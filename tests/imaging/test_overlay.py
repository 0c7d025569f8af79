"""The film with its heat map: colour where the map is, grey elsewhere, a bar that tells the scale."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from toolkit.imaging.overlay import BAR_PX, EDGE_PX, MARGIN_PX, overlay_png


def drawn(heat: np.ndarray) -> np.ndarray:
    film = np.tile(np.linspace(20, 200, 64).astype(np.uint8), (64, 1))
    with Image.open(io.BytesIO(overlay_png(film, heat.astype(np.float32), "PNEUMONIA"))) as page:
        assert (page.format, page.mode) == ("PNG", "RGB")
        return np.asarray(page).astype(int)


def film_of(page: np.ndarray) -> np.ndarray:
    return page[MARGIN_PX : MARGIN_PX + EDGE_PX, MARGIN_PX : MARGIN_PX + EDGE_PX]


def colourfulness(pixels: np.ndarray) -> np.ndarray:
    return np.ptp(pixels, axis=2)


def test_colour_is_where_the_map_is() -> None:
    heat = np.zeros((7, 7))
    heat[5, 1] = 2.0
    film = colourfulness(film_of(drawn(heat)))
    hot, cold = film[5 * 64 + 16 : 5 * 64 + 48, 80:112], film[:128, 256:]
    assert hot.min() > 40
    assert cold.max() <= 2


def test_a_map_that_speaks_for_nothing_leaves_the_film_grey() -> None:
    for heat in (np.zeros((7, 7)), np.full((7, 7), -3.0)):
        assert colourfulness(film_of(drawn(heat))).max() == 0


def test_the_bar_goes_from_grey_to_the_colour_of_the_most_and_has_words_below() -> None:
    page = drawn(np.eye(7))
    top = EDGE_PX + 2 * MARGIN_PX
    bar = colourfulness(page[top : top + BAR_PX, MARGIN_PX : MARGIN_PX + EDGE_PX])
    assert bar[:, 0].max() <= 2
    assert bar[:, -1].min() > 30
    assert (page[top + BAR_PX :] < 100).any()


def test_the_scale_is_the_maps_own() -> None:
    assert np.array_equal(film_of(drawn(np.eye(7))), film_of(drawn(5 * np.eye(7))))
    assert not np.array_equal(drawn(np.eye(7)), drawn(5 * np.eye(7)))  # the words differ
