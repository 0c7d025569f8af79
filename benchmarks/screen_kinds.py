"""Pictures that are no usable frontal films: made from films, and drawn. All are uint8 `[S, S]`; equal generators give equal pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from toolkit.imaging.decode import Pixels

Random = np.random.Generator
Make = Callable[[Pixels, Random], Pixels]
Draw = Callable[[int, Random], Pixels]
TEXT_PX = 8  # height of a line of Pillow's own font, at 96 px


def _inverted(film: Pixels, _random: Random) -> Pixels:
    return 255 - film


def _quarter_turn(film: Pixels, random: Random) -> Pixels:
    return np.rot90(film, random.choice((1, 3))).copy()


def _upside_down(film: Pixels, _random: Random) -> Pixels:
    return film[::-1, ::-1].copy()


def _overexposed(film: Pixels, random: Random) -> Pixels:
    """The darkest 25 to 45 % are left of the film, everything brighter is white; or all of it is pressed into the top of the scale."""
    if random.random() < 0.3:
        return _grey(255 - (255 - film) * random.uniform(0.02, 0.12))
    level = max(8.0, float(np.quantile(film, random.uniform(0.25, 0.45))))
    return _grey(film * (255 / level))


def _underexposed(film: Pixels, random: Random) -> Pixels:
    """The brightest 10 to 30 % are left of the film, everything darker is black; or all of it is pressed into the bottom of the scale."""
    if random.random() < 0.5:
        return _grey(film * random.uniform(0.02, 0.12))
    level = min(247.0, float(np.quantile(film, random.uniform(0.7, 0.9))))
    return _grey((film - level) * (255 / (255 - level)))


def _half_black(film: Pixels, random: Random) -> Pixels:
    """45 to 75 % of the picture are missing on one side: black, grey or white."""
    share, side = random.uniform(0.45, 0.75), int(random.integers(4))
    turned = np.rot90(film, side).copy()
    turned[: round(share * len(turned))] = random.choice((0, 0, 128, 255))
    return np.rot90(turned, -side).copy()


def _cut_off(film: Pixels, random: Random) -> Pixels:
    """30 to 50 % of one edge are left, stretched over the whole picture: one lung, or the upper or the lower half of both."""
    kept, side = random.uniform(0.3, 0.5), int(random.integers(4))
    turned = np.rot90(film, side)[: max(2, round(kept * len(film)))]
    return _stretched(np.rot90(turned, -side), len(film))


def _zoomed(film: Pixels, random: Random) -> Pixels:
    """A window of 12 to 35 % of each edge."""
    edge = max(4, round(random.uniform(0.12, 0.35) * len(film)))
    top, left = random.integers(0, len(film) - edge, 2)
    return _stretched(film[top : top + edge, left : left + edge], len(film))


def _shuffled(film: Pixels, random: Random) -> Pixels:
    """Tiles of a half to a sixth of the edge in another order."""
    count = int(random.integers(2, 7))
    edge = len(film) // count
    tiles = [film[row * edge :, column * edge :][:edge, :edge] for row in range(count) for column in range(count)]
    order = random.permutation(len(tiles))
    while (order == np.arange(len(tiles))).all():
        order = random.permutation(len(tiles))
    rows = [np.concatenate([tiles[at] for at in order[row * count : (row + 1) * count]], 1) for row in range(count)]
    return _stretched(np.concatenate(rows, 0), len(film))


def _blank(size: int, random: Random) -> Pixels:
    return _grey(random.uniform(0, 255) + random.uniform(0, 2) * random.standard_normal((size, size)))


def _noise(size: int, random: Random) -> Pixels:
    """Of single pixels: uniform, normal, or black and white."""
    kind = random.integers(3)
    if kind == 0:
        return random.integers(0, 256, (size, size), np.uint8)
    if kind == 1:
        return _grey(random.uniform(60, 200) + random.uniform(8, 70) * random.standard_normal((size, size)))
    return np.where(random.random((size, size)) < random.uniform(0.05, 0.95), 255, 0).astype(np.uint8)


def _clouds(size: int, random: Random) -> Pixels:
    """Noise, smoothed to one length."""
    edge = int(random.integers(2, 24))
    return _stretched(random.integers(0, 256, (edge, edge), np.uint8), size, Image.Resampling.BICUBIC)


def _gradient(size: int, random: Random) -> Pixels:
    y, x = np.mgrid[-1 : 1 : complex(size), -1 : 1 : complex(size)]
    turn = random.uniform(0, 2 * np.pi)
    field = x * np.cos(turn) + y * np.sin(turn) if random.random() < 0.5 else np.hypot(x - random.uniform(-1, 1), y - random.uniform(-1, 1))
    return _grey(128 + random.uniform(40, 127) * field * random.choice((-1, 1)))


def _shapes(size: int, random: Random) -> Pixels:
    picture = Image.new("L", (size, size), int(random.integers(256)))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(random.integers(1, 12))):
        box = np.sort(random.integers(0, size, (2, 2)), 0).T.ravel().reshape(2, 2).T.ravel().tolist()
        form = pen.ellipse if random.random() < 0.5 else pen.rectangle
        form(box, fill=int(random.integers(256)), outline=int(random.integers(256)))
    return _softened(picture, random)


def _text(size: int, random: Random) -> Pixels:
    """A page of lines of letters, dark on light or the other way round."""
    back, front = random.permutation((int(random.integers(0, 90)), int(random.integers(160, 256)))).tolist()
    picture = Image.new("L", (size, size), back)
    pen, step = ImageDraw.Draw(picture), max(TEXT_PX, size * TEXT_PX // 96) + int(random.integers(2, 10))
    for top in range(2, size - step, step):
        letters = "".join(chr(code) for code in random.integers(97, 123, int(random.integers(0, 24))))
        pen.text((3, top), letters, fill=front, font_size=max(TEXT_PX, size * TEXT_PX // 96))
    return np.asarray(picture)


def _stripes(size: int, random: Random) -> Pixels:
    y, x = np.mgrid[:size, :size] / size
    turn, waves = random.uniform(0, np.pi), random.uniform(2, 24)
    field = np.sin(2 * np.pi * waves * (x * np.cos(turn) + y * np.sin(turn)))
    return _grey(128 + random.uniform(30, 127) * (np.sign(field) if random.random() < 0.5 else field))


def _window(size: int, random: Random) -> Pixels:
    """As a screenshot looks: bars at the edges, panels, buttons, lines of text."""
    dark = random.random() < 0.5
    shades = random.integers(0, 90, 4) if dark else random.integers(150, 256, 4)
    picture = Image.new("L", (size, size), int(shades[0]))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, size, size * random.uniform(0.04, 0.15)), fill=int(shades[1]))
    pen.rectangle((0, 0, size * random.uniform(0.1, 0.35), size), fill=int(shades[2]))
    for _ in range(int(random.integers(4, 16))):
        left, top = (random.random(2) * size).tolist()
        right, bottom = left + size * random.uniform(0.05, 0.5), top + size * random.uniform(0.02, 0.2)
        pen.rectangle((left, top, right, bottom), fill=int(random.integers(256)), outline=int(random.integers(256)))
        pen.text((left, bottom), "Report of today", fill=255 - int(shades[0]), font_size=max(TEXT_PX, size * TEXT_PX // 96))
    return np.asarray(picture)


def _checks(size: int, random: Random) -> Pixels:
    y, x = np.mgrid[:size, :size] * int(random.integers(3, 20)) // size
    low, high = np.sort(random.integers(0, 256, 2))
    return np.where((x + y) % 2, low, min(255, high + 40)).astype(np.uint8)


def _fractal(size: int, random: Random) -> Pixels:
    """Noise of all lengths, as clouds and rock have it."""
    fx, fy = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size))
    amplitude = np.maximum(np.hypot(fx, fy), 1 / size) ** -random.uniform(1.0, 2.2)
    field = np.fft.ifft2(amplitude * np.exp(2j * np.pi * random.random((size, size)))).real
    return _grey(128 + random.uniform(30, 70) * (field - field.mean()) / field.std())


def _bars(size: int, random: Random) -> Pixels:
    """A bar chart on white."""
    picture = Image.new("L", (size, size), 255)
    pen, count = ImageDraw.Draw(picture), int(random.integers(3, 12))
    width = size / (count + 1)
    for place in range(count):
        left = (place + 0.6) * width
        pen.rectangle((left, size * random.uniform(0.1, 0.8), left + 0.7 * width, 0.92 * size), fill=int(random.integers(0, 180)))
    pen.line((0.05 * size, 0.92 * size, size, 0.92 * size), fill=0)
    return np.asarray(picture)


def _rings(size: int, random: Random) -> Pixels:
    y, x = np.mgrid[-1 : 1 : complex(size), -1 : 1 : complex(size)]
    distance = np.hypot(x - random.uniform(-0.6, 0.6), y - random.uniform(-0.6, 0.6))
    return _grey(128 + random.uniform(30, 127) * np.cos(2 * np.pi * random.uniform(1, 9) * distance))


def _code(size: int, random: Random) -> Pixels:
    """Black and white blocks, as in a QR code, with a white margin."""
    count, margin = int(random.integers(15, 40)), int(random.integers(0, size // 6))
    page = np.full((size, size), 255, np.uint8)
    blocks = np.where(random.random((count, count)) < 0.5, 0, 255).astype(np.uint8)
    inner = size - 2 * margin
    page[margin : margin + inner, margin : margin + inner] = _stretched(blocks, inner, Image.Resampling.NEAREST)
    return page


def _blobs(size: int, random: Random) -> Pixels:
    """A few soft bright spots on black, as a lamp or a night sky."""
    y, x = np.mgrid[-1 : 1 : complex(size), -1 : 1 : complex(size)]
    field = np.zeros((size, size))
    for _ in range(int(random.integers(1, 8))):
        across, down = random.uniform(-1, 1, 2)
        field += random.uniform(60, 255) * np.exp(-((x - across) ** 2 + (y - down) ** 2) / random.uniform(0.005, 0.4))
    return _grey(field)


def _stretched(pixels: Pixels, size: int, method: Image.Resampling = Image.Resampling.BILINEAR) -> Pixels:
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((size, size), method))


def _softened(picture: Image.Image, random: Random) -> Pixels:
    if random.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.06) * picture.width))
    return np.asarray(picture)


def _grey(values: NDArray[np.floating]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


INVERTED = "inverted"
MADE: Mapping[str, Make] = {
    INVERTED: _inverted,
    "turned by a quarter": _quarter_turn,
    "upside down": _upside_down,
    "far overexposed": _overexposed,
    "far underexposed": _underexposed,
    "half missing": _half_black,
    "cut off": _cut_off,
    "extreme zoom": _zoomed,
    "shuffled": _shuffled,
}
"""From a film. All are both fitted (on train films) and measured (on test films)."""
DRAWN: Mapping[str, Draw] = {
    "blank": _blank,
    "noise": _noise,
    "clouds": _clouds,
    "gradient": _gradient,
    "shapes": _shapes,
    "text": _text,
    "stripes": _stripes,
    "window": _window,
}
"""From nothing. Fitted and measured, drawn anew."""
DRAWN_UNSEEN: Mapping[str, Draw] = {
    "checks": _checks,
    "fractal": _fractal,
    "bar chart": _bars,
    "rings": _rings,
    "code": _code,
    "blobs": _blobs,
}
"""From nothing. Measured only: the screen was fitted on no such picture."""
