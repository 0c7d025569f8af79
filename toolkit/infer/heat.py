"""Where a network looks that gives no heat map of its own: by covering one part of the film after another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toolkit.imaging.decode import Pixels
from toolkit.infer.runtimes import Session

PARTS = 7  # along each edge: so many times itself inferences a film


def occlusion(session: Session, pixels: Pixels) -> NDArray[np.float32]:
    """What the logit of a film, uint8 `[S, S]`, loses when a part of it is covered with the film's mean, float32 `[PARTS, PARTS]`: positive
    where the part speaks for pneumonia (Zeiler and Fergus 2014). Costs PARTS * PARTS + 1 inferences."""
    edges = np.linspace(0, len(pixels), PARTS + 1).round().astype(int)
    before = session.logits(pixels[None, None])[0]
    heat = np.empty((PARTS, PARTS), np.float32)
    for row, column in np.ndindex(PARTS, PARTS):
        covered = pixels.copy()
        covered[edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = round(pixels.mean())
        heat[row, column] = before - session.logits(covered[None, None])[0]
    return heat
