"""What is done to a picture before the network sees it: declared once, stored in every artifact, never guessed."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from toolkit.core.codec import Frozen


class Preprocessing(Frozen, frozen=True, kw_only=True):
    """How a film becomes the array of the graph's input `image`: uint8, `[1, size_px, size_px]`, 0..255, grey.

    `decode` 'reduced' decodes a JPEG at the smallest of the scales 1/2, 1/4, 1/8 that leaves twice `size_px` on each edge, for slow boards;
    films of the network's own size are not touched by it. `resize` 'squash' stretches both edges to `size_px` (the Kermany films were
    prepared so); the filter averages over the pixels that it removes (antialiasing). Inside the graph: `normalise` 'film' takes the film's
    mean away and divides by its own standard deviation (at least one grey level), which makes exposure and window irrelevant; then
    value * scale + offset, so that 1/127.5 and -1 give [-1, 1]. `channels` is what the trained network takes; equal grey channels are
    folded into one on lowering.
    """

    size_px: Annotated[int, Meta(ge=16, le=2048)] = 224
    colour: Literal["grey"] = "grey"
    resize: Literal["squash"] = "squash"
    resample: Literal["bilinear", "bicubic"] = "bilinear"
    decode: Literal["full", "reduced"] = "full"
    normalise: Literal["none", "film"] = "none"
    scale: Annotated[float, Meta(gt=0)] = 1 / 255
    offset: Annotated[float, Meta(ge=-1e3, le=1e3)] = 0.0
    channels: Literal[1, 3] = 3
