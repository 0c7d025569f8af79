"""What is done to a picture before the network sees it: declared once, stored in every artifact, never guessed."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from toolkit.core.codec import Frozen


class Preprocessing(Frozen, frozen=True, kw_only=True):
    """How a film becomes the array of the graph's input `image`: uint8, `[1, size_px, size_px]`, 0..255, grey.

    `resize` 'squash' stretches both edges to `size_px` (the Kermany films were prepared so); the filter
    averages over the pixels that it removes (antialiasing). `scale` is applied inside the graph: value * scale.
    `channels` is what the trained network takes; equal grey channels are folded into one on lowering.
    """

    size_px: Annotated[int, Meta(ge=16, le=2048)] = 224
    colour: Literal["grey"] = "grey"
    resize: Literal["squash"] = "squash"
    resample: Literal["bilinear", "bicubic"] = "bilinear"
    scale: Annotated[float, Meta(gt=0)] = 1 / 255
    channels: Literal[1, 3] = 3
