"""Small films written by hand, and the real ones, read once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import KERMANY
from toolkit.data.cases import Source
from toolkit.data.sources import read_source

NAMES = (
    "train/NORMAL/IM-0001-0001.png",
    "train/NORMAL/NORMAL2-IM-0001-0001.png",
    "train/PNEUMONIA/person1_bacteria_1.png",
    "train/PNEUMONIA/person1_virus_2.png",
    "val/NORMAL/IM-0002-0001.png",
    "val/PNEUMONIA/person2_virus_3.png",
    "test/NORMAL/IM-0003-0001.png",
    "test/PNEUMONIA/person3_bacteria_4.png",
)


def write_film(path: Path, seed: int) -> None:
    """A picture of 32 x 32 pixels of noise; another seed gives another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32), np.uint8)).save(path)


@pytest.fixture
def write_films(tmp_path: Path) -> Callable[..., Path]:
    """Writes a different film for each name and gives the folder."""

    def write(*names: str, folder: str = "films") -> Path:
        for seed, name in enumerate(names):
            write_film(tmp_path / folder / name, seed)
        return tmp_path / folder

    return write


@pytest.fixture
def small(write_films: Callable[..., Path]) -> Path:
    """A folder of eight films in the Kermany layout, each of another patient; may be changed by the test."""
    return write_films(*NAMES)


@pytest.fixture(scope="session")
def kermany() -> Source:
    """The real films."""
    return read_source(KERMANY)
