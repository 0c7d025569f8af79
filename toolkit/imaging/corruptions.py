"""What clinics do to films, in five severities each (after Hendrycks and Dietterich, ICLR 2019), on prepared films uint8 `[S, S]`.

Equal arguments give equal pixels: what is random in a corruption (grain, direction, place) follows from the seed and the name alone, so
that two networks see the same film, today and on another machine.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from toolkit.errors import InputError
from toolkit.imaging.decode import Pixels

Random = np.random.Generator
Field = NDArray[np.floating]
SEVERITIES = range(6)
"""0 leaves the film as it is."""
LIKE_PX = 224  # lengths in pixels are of a film of this edge, and grow with it


class Corruption(NamedTuple):
    """What is done, and how much at severities 1 to 5."""

    change: Callable[[Pixels, float, Random], Pixels]
    levels: tuple[float, float, float, float, float]
    unit: str


def corrupt(pixels: Pixels, name: str, severity: int, seed: str) -> Pixels:
    """A film uint8 `[S, S]` after the corruption `name`; `seed` is the film's own, such as its digest. Raises InputError for another name
    or severity."""
    if name not in CORRUPTIONS:
        raise InputError(f"There is no corruption '{name}'; there are: {', '.join(CORRUPTIONS)}.")
    if severity not in SEVERITIES:
        raise InputError(f"A corruption has the severities 0 to 5, not {severity}.")
    if severity == 0:
        return pixels
    chosen = CORRUPTIONS[name]
    key = hashlib.sha256(f"{name} {seed}".encode()).digest()[:8]
    return chosen.change(pixels, chosen.levels[severity - 1], np.random.default_rng(int.from_bytes(key, "little")))


def _jpeg(pixels: Pixels, quality: float, _random: Random) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=int(quality))
    with Image.open(stream) as picture:
        return np.asarray(picture)


def _noise(pixels: Pixels, deviation: float, random: Random) -> Pixels:
    return _grey(pixels + deviation * random.standard_normal(pixels.shape))


def _blur(pixels: Pixels, radius_px: float, _random: Random) -> Pixels:
    scaled = radius_px * pixels.shape[0] / LIKE_PX
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(scaled)))


def _gamma(pixels: Pixels, exponent: float, random: Random) -> Pixels:
    return _grey(255 * (pixels / 255) ** (exponent if random.random() < 0.5 else 1 / exponent))


def _brightness(pixels: Pixels, levels: float, random: Random) -> Pixels:
    return _grey(pixels.astype(np.float64) + levels * _sign(random))


def _rotation(pixels: Pixels, degrees: float, random: Random) -> Pixels:
    return np.asarray(Image.fromarray(pixels).rotate(degrees * _sign(random), Image.Resampling.BILINEAR))


def _crop(pixels: Pixels, share: float, random: Random) -> Pixels:
    """`share` of each edge is cut off, more or less on either side."""
    height, width = pixels.shape
    left, top = random.random(2) * share * np.array([width, height])
    box = (left, top, left + (1 - share) * width, top + (1 - share) * height)
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box=box))


def _border(pixels: Pixels, share: float, _random: Random) -> Pixels:
    """The film smaller, on black: collimation, or the edge of a light box."""
    height, width = pixels.shape
    inner = (max(1, round(width * (1 - 2 * share))), max(1, round(height * (1 - 2 * share))))
    page = Image.new("L", (width, height))
    page.paste(Image.fromarray(pixels).resize(inner, Image.Resampling.BILINEAR), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return np.asarray(page)


def _downscale(pixels: Pixels, factor: float, _random: Random) -> Pixels:
    height, width = pixels.shape
    small = Image.fromarray(pixels).resize((max(1, round(width / factor)), max(1, round(height / factor))), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))


def _screen(pixels: Pixels, strength: float, random: Random) -> Pixels:
    """Photographed from a screen: from aside, with the two grids beating against each other, a lamp mirrored, corners dark, black grey."""
    tilted = np.asarray(_tilted(Image.fromarray(pixels), 0.06 * strength, random), np.float64)
    y, x = np.mgrid[-1 : 1 : complex(pixels.shape[0]), -1 : 1 : complex(pixels.shape[1])]
    turn = random.uniform(0, np.pi)
    waves = np.cos(2 * np.pi * 14 * (x * np.cos(turn) + y * np.sin(turn) + 0.05 * x * y))
    lamp_x, lamp_y = random.uniform(-0.7, 0.7, 2)
    lamp = np.exp(-((x - lamp_x) ** 2 + (y - lamp_y) ** 2) / 0.12)
    dark = 1 - 0.35 * strength * (x**2 + y**2) / 2
    lifted = 40 * strength + tilted * (1 - 0.35 * strength)
    return _grey(lifted * dark + 12 * strength * waves + 90 * strength * lamp)


def _tilted(picture: Image.Image, share: float, random: Random) -> Image.Image:
    """Each corner moves inwards by up to `share` of the edge."""
    width, height = picture.size
    moved = random.uniform(0.3, 1, (4, 2)) * share * np.array([width, height])
    inwards = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)])
    corners = np.array([(0, 0), (0, height), (width, height), (width, 0)], np.float64)
    return picture.transform(
        picture.size, Image.Transform.PERSPECTIVE, _perspective(corners + moved * inwards, corners), Image.Resampling.BILINEAR
    )


def _perspective(seen: Field, source: Field) -> list[float]:
    """The eight numbers that take the corners `seen` `[4, 2]` of the result to those of the source."""
    rows = []
    for (x, y), (u, v) in zip(seen, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    found: list[float] = np.linalg.solve(np.array(rows), source.reshape(-1)).tolist()
    return found


def _sign(random: Random) -> int:
    return 1 if random.random() < 0.5 else -1


def _grey(values: Field) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


CORRUPTIONS: Mapping[str, Corruption] = {
    "jpeg": Corruption(_jpeg, (50, 30, 18, 11, 6), "quality"),
    "noise": Corruption(_noise, (4, 8, 14, 22, 32), "grey levels, standard deviation"),
    "blur": Corruption(_blur, (0.6, 1.0, 1.6, 2.4, 3.4), "px, standard deviation"),
    "gamma": Corruption(_gamma, (1.15, 1.35, 1.6, 2.0, 2.5), "exponent, or its inverse"),
    "brightness": Corruption(_brightness, (12, 24, 38, 54, 72), "grey levels, up or down"),
    "rotation": Corruption(_rotation, (2, 4, 7, 11, 16), "degrees, left or right"),
    "crop": Corruption(_crop, (0.03, 0.06, 0.1, 0.15, 0.21), "share of each edge that is cut off"),
    "border": Corruption(_border, (0.02, 0.04, 0.07, 0.11, 0.16), "share of the edge on each side"),
    "downscale": Corruption(_downscale, (1.5, 2, 2.8, 4, 5.6), "times smaller, and back"),
    "screen": Corruption(_screen, (0.2, 0.4, 0.6, 0.8, 1.0), "strength"),
}
