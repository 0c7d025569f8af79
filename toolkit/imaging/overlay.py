"""A film with its heat map laid over it, a scale bar, and lines of text below."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from toolkit.imaging.decode import Pixels

EDGE_PX, MARGIN_PX, BAR_PX, TEXT_PX, LINE_PX = 448, 16, 20, 14, 20
STRENGTH = 0.55  # of the colour, where the map is at its most
# matplotlib's 'inferno', at five places
PLACES, COLOURS = (0, 64, 128, 192, 255), ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))


def overlay_png(film: Pixels, heat: NDArray[np.float32], label: str) -> bytes:
    """`overlay` as a PNG file."""
    stream = io.BytesIO()
    overlay(film, heat, label).save(stream, "PNG")
    return stream.getvalue()


def overlay(film: Pixels, heat: NDArray[np.float32], label: str, lines: Sequence[str] = ()) -> Image.Image:
    """RGB picture of a film, uint8 `[S, S]`, under its heat map, float32 `[h, w]`, whose positive values speak for `label`, with `lines`
    below it.

    Colour and strength follow the map from 0 to its own highest value, which the bar states: in logits where parts of the film were
    covered, in Grad-CAM's own unit where the graph gave the map. Where nothing speaks for `label` the film stays grey.
    """
    top = max(float(heat.max()), 0.0)
    share = np.clip(heat, 0, None) / top if top else np.zeros_like(heat)
    size = (EDGE_PX, EDGE_PX)
    level = Image.fromarray(np.rint(255 * share).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grey = Image.fromarray(film).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    colour = Image.fromarray(_colours()[np.asarray(level)])
    mask = level.point([round(STRENGTH * value) for value in range(256)])
    height = EDGE_PX + 4 * MARGIN_PX + BAR_PX + TEXT_PX + len(lines) * LINE_PX
    page = Image.new("RGB", (EDGE_PX + 2 * MARGIN_PX, height), "white")
    page.paste(Image.composite(colour, grey, mask), (MARGIN_PX, MARGIN_PX))
    _draw_bar(page, top, label)
    for place, line in enumerate(lines):
        at = (MARGIN_PX, height - MARGIN_PX - (len(lines) - place) * LINE_PX)
        ImageDraw.Draw(page).text(at, line, "black", ImageFont.load_default(TEXT_PX))
    return page


def _draw_bar(page: Image.Image, top: float, label: str) -> None:
    """From nothing to the most, as it is drawn over mid grey."""
    ramp = np.linspace(0, 255, EDGE_PX).round().astype(np.uint8)[None].repeat(BAR_PX, axis=0)  # [BAR_PX, EDGE_PX]
    weight = STRENGTH * ramp[..., None] / 255
    bar = (1 - weight) * 128 + weight * _colours()[ramp]
    page.paste(Image.fromarray(bar.round().astype(np.uint8)), (MARGIN_PX, EDGE_PX + 2 * MARGIN_PX))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(TEXT_PX)
    line = EDGE_PX + 2 * MARGIN_PX + BAR_PX + 4
    draw.text((MARGIN_PX, line), "0", "black", font)
    draw.text((page.width // 2, line), f"speaks for {label}", "black", font, anchor="ma")
    draw.text((page.width - MARGIN_PX, line), f"{top:.2g}", "black", font, anchor="ra")


def _colours() -> NDArray[np.uint8]:
    """RGB of each level, `[256, 3]`."""
    channels = [np.interp(np.arange(256), PLACES, channel) for channel in np.array(COLOURS).T]
    return np.stack(channels, axis=1).round().astype(np.uint8)
