"""Synthetic chest films: drawn, not taken of anybody. They stand in for real ones in the demo and the tests.

A film is a sum of soft shapes on a square of [-1, 1]: body, lungs, ribs, clavicles, spine, heart, diaphragm, vessels;
pneumonia adds consolidations (one or two dense ones named bacteria, several faint ones named virus). Exposure, contrast,
blur, noise, rotation, magnification, border and side marker vary without regard to the class. Brighter is denser.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from toolkit.core.codec import encode_json
from toolkit.core.files import folder_written_whole
from toolkit.core.labels import Labels
from toolkit.core.progress import track
from toolkit.core.recipe import PhantomSpec
from toolkit.data.sources import PHANTOM_MARK

Field = NDArray[np.floating[Any]]
Random = np.random.Generator

TWO_FILMS = 0.15  # share of patients with a second film
JPEG_QUALITY = 90
CONTRAST = {"bacteria": (0.12, 0.52), "virus": (0.09, 0.4)}  # of a consolidation, against a lung of about .2
COUNT = {"bacteria": (1, 3), "virus": (3, 7)}
RADIUS = {"bacteria": (0.16, 0.34), "virus": (0.08, 0.17)}


class Anatomy(NamedTuple):
    """What two films of one patient share. Lengths in half-widths of the film."""

    lung_width: float
    lung_height: float
    heart: float
    spine: float
    rib_gap: float
    rib_tilt: float
    dome: float


def write_phantoms(spec: PhantomSpec, folder: Path) -> None:
    """Draw a whole set in the Kermany layout into `folder`, with `phantom.json` that marks it as synthetic.

    The folder appears when all is drawn; equal specs give equal bytes.
    """
    counts = {"train": spec.train_patients, "test": spec.test_patients}
    with folder_written_whole(folder) as place:
        for split, patients in counts.items():
            for name, kind, seed in track(_films(spec, split, patients), patients, f"draw {split}"):
                path = place / split / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_jpeg(draw_film(kind, spec.size_px, *seed)))
        (place / PHANTOM_MARK).write_bytes(encode_json(spec))


def draw_film(kind: str, size_px: int, patient_seed: tuple[int, ...], film: int = 0) -> Image.Image:
    """One film, grey 8 bit, `size_px` squared; `kind` is 'normal', 'bacteria' or 'virus'.

    Films of one `patient_seed` share the anatomy; pose, exposure and findings are drawn anew for each `film`.
    """
    anatomy = _anatomy(np.random.default_rng((*patient_seed, 0)))
    random = np.random.default_rng((*patient_seed, 1, film))
    x, y = _posed_grid(size_px, random)
    lungs = _lungs(x, y, anatomy)
    picture = _thorax(x, y, lungs, anatomy, random)
    if kind != "normal":
        picture += _consolidations(x, y, lungs, kind, random)
    return _acquire(picture, random)


def _films(spec: PhantomSpec, split: str, patients: int) -> Iterator[tuple[str, str, tuple[tuple[int, ...], int]]]:
    """(path below the split, kind, seed) of each film; test numbers follow train numbers, so no patient is in both."""
    labels = Labels()
    side = ("train", "test").index(split)
    random = np.random.default_rng((spec.seed, side))
    sick = round(spec.prevalence * patients)
    kinds = ["bacteria"] * (sick - sick // 3) + ["virus"] * (sick // 3) + ["normal"] * (patients - sick)
    offset = spec.train_patients * side
    for number, kind in enumerate(kinds, start=1 + offset):
        for film in range(1 + (random.random() < TWO_FILMS)):
            normal = kind == "normal"
            name = f"IM-{number:04d}-{film + 1:04d}" if normal else f"person{number}_{kind}_{film + 1}"
            yield f"{labels.names[not normal]}/{name}.jpeg", kind, ((spec.seed, side, number), film)


def _jpeg(film: Image.Image) -> bytes:
    stream = io.BytesIO()
    film.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def _anatomy(random: Random) -> Anatomy:
    return Anatomy(
        lung_width=random.uniform(0.26, 0.33),
        lung_height=random.uniform(0.5, 0.64),
        heart=random.uniform(0.2, 0.3),
        spine=random.uniform(0.06, 0.09),
        rib_gap=random.uniform(0.13, 0.17),
        rib_tilt=random.uniform(0.35, 0.7),
        dome=random.uniform(0.05, 0.12),
    )


def _posed_grid(size_px: int, random: Random) -> tuple[Field, Field]:
    """Coordinates of each pixel in the patient's frame: rotated, magnified, shifted, stretched."""
    axis = np.linspace(-1, 1, size_px, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    angle = random.normal(0, 0.05)
    scale_x, scale_y = random.uniform(0.85, 1.15, 2)
    x, y = x - random.normal(0, 0.04), y - random.normal(0, 0.04)
    turned = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
    return (turned[0] * scale_x).astype(np.float32), (turned[1] * scale_y).astype(np.float32)


def _lungs(x: Field, y: Field, anatomy: Anatomy) -> Field:
    """1 inside the lungs, 0 outside, soft at the edge; the diaphragm cuts them below."""
    mask = np.zeros_like(x)
    for side in (-1, 1):
        across = (x - side * (anatomy.spine + 0.05 + anatomy.lung_width)) / (1.1 * anatomy.lung_width * (1 + 0.3 * y))
        along = (y - 0.05) / (1.15 * anatomy.lung_height)
        mask = np.maximum(mask, _soft(1 - np.hypot(across, along), 0.06))
    floor = 0.5 - anatomy.dome * np.cos(4 * (np.abs(x) - anatomy.lung_width - anatomy.spine))
    return mask * _soft(floor - y, 0.02)


def _thorax(x: Field, y: Field, lungs: Field, anatomy: Anatomy, random: Random) -> Field:
    body = _soft(0.88 - np.abs(x) - 0.15 * np.clip(-y - 0.5, 0, 1), 0.05)
    picture = 0.05 + 0.5 * body - 0.34 * lungs
    picture += 0.2 * np.exp(-((x / anatomy.spine) ** 2)) * body
    heart = ((x - 0.13) / anatomy.heart) ** 2 + ((y - 0.22) / (0.75 * anatomy.heart + 0.1)) ** 2
    picture += 0.3 * _soft(1 - heart, 0.2) * lungs
    picture += _ribs(x, y, anatomy) * (0.3 + 0.7 * lungs) * body * _soft(0.6 - y, 0.1)
    picture += 0.1 * _clavicles(x, y)
    texture = _smooth_noise(x.shape, 28, random) * 0.035 + _smooth_noise(x.shape, 9, random) * 0.03
    hilum = np.exp(-(((np.abs(x) - 0.18) / 0.12) ** 2) - ((y / 0.25) ** 2))
    return picture + lungs * (texture + hilum * random.uniform(0.02, 0.12))


def _ribs(x: Field, y: Field, anatomy: Anatomy) -> Field:
    """Posterior ribs fall to the side; anterior ones, fainter, rise."""
    away = np.abs(x)
    rows_back = (y + 0.75 - anatomy.rib_tilt * away**2) / anatomy.rib_gap
    rows_front = (y + 0.7 + 0.5 * anatomy.rib_tilt * away) / (1.3 * anatomy.rib_gap)
    return 0.075 * _stripes(rows_back) + 0.04 * _stripes(rows_front)


def _stripes(rows: Field) -> Field:
    inside = (rows > 0) & (rows < 9)
    return np.asarray(np.exp(-(((rows % 1 - 0.5) / 0.2) ** 2)) * inside)


def _clavicles(x: Field, y: Field) -> Field:
    line = y + 0.62 + 0.25 * (np.abs(x) - 0.15)
    return np.exp(-((line / 0.035) ** 2)) * ((np.abs(x) > 0.08) & (np.abs(x) < 0.7))


def _consolidations(x: Field, y: Field, lungs: Field, kind: str, random: Random) -> Field:
    """Soft, irregular clouds inside the lungs."""
    clouds = np.zeros_like(x)
    inside = np.argwhere(lungs > 0.7)
    for _ in range(random.integers(*COUNT[kind])):
        row, column = inside[random.integers(len(inside))]
        radius = random.uniform(*RADIUS[kind])
        distance = np.hypot(x - x[row, column], (y - y[row, column]) * random.uniform(0.7, 1.3)) / radius
        ragged = distance + 0.35 * _smooth_noise(x.shape, 12, random)
        clouds += random.uniform(*CONTRAST[kind]) * _soft(1 - ragged, 0.25)
    return clouds * lungs


def _acquire(picture: Field, random: Random) -> Image.Image:
    """Exposure, contrast, blur, noise, a dark border, a side marker."""
    picture = np.clip(picture * random.uniform(0.9, 1.3) + random.uniform(-0.05, 0.1), 0, 1) ** random.uniform(0.75, 1.3)
    film = Image.fromarray((picture * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(random.uniform(0, 1.1)))
    noisy = np.asarray(film, np.float32) + random.normal(0, random.uniform(2, 9), picture.shape)
    film = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    size = film.width
    draw = ImageDraw.Draw(film)
    border = int(size * max(0, random.normal(0, 0.03)))
    if border:
        draw.rectangle((0, 0, size - 1, size - 1), outline=0, width=border)
    if random.random() < 0.6:
        draw.text((random.uniform(0.03, 0.9) * size, 0.04 * size), random.choice(["L", "R"]), fill=235, font_size=0.06 * size)
    return film


def _soft(value: Field, width: float) -> Field:
    """A smooth step: 0 far below zero, 1 far above."""
    return np.asarray(1 / (1 + np.exp(-np.clip(value / width, -30, 30))), np.float32)


def _smooth_noise(shape: tuple[int, ...], cells: int, random: Random) -> Field:
    """Noise of unit strength with about `cells` bumps across, float32 of `shape`."""
    coarse = Image.fromarray(random.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
