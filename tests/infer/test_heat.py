"""Occlusion: a network that looks at one place is found out."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.infer.heat import PARTS, occlusion


class Corner:
    """Its logit is the mean brightness of the upper right seventh, each way."""

    calls = 0

    def logits(self, images: Any) -> Any:
        self.calls += 1
        return images[:, 0, :8, 48:].mean((1, 2)).astype(np.float32)

    def outputs(self, images: Any) -> Any:
        return (self.logits(images),)


def test_the_place_that_is_looked_at_is_found_and_its_worth_is_what_it_brings() -> None:
    film = np.full((56, 56), 40, np.uint8)
    film[:8, 48:] = 240
    session = Corner()
    heat = occlusion(session, film)
    expected = np.zeros((PARTS, PARTS))
    expected[0, -1] = 240 - round(float(film.mean()))
    assert np.allclose(heat, expected)
    assert session.calls == PARTS * PARTS + 1
    assert film[0, -1] == 240  # not changed
