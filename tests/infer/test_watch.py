"""When a dropped film is complete."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolkit.core.codec import encode_json
from toolkit.core.prediction import Prediction
from toolkit.infer.results import Record, Sidecars, Version, sidecar_of
from toolkit.infer.watch import SETTLE_S, arriving

POLL_S = 1.0


class Clock:
    """Each wait is a second, in which something may happen to the folder; it stops when nothing is left to happen."""

    def __init__(self, *happens: object) -> None:
        self.now, self.happens = 0.0, list(happens)

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        if not self.happens:
            return True
        act = self.happens.pop(0)
        if callable(act):
            act()
        return False


def arrived(folder: Path, clock: Clock) -> list[tuple[str, float]]:
    return [(path.name, clock.now) for path in arriving(folder, clock.wait, POLL_S, lambda: clock.now)]


def write(path: Path, size: int) -> None:
    path.write_bytes(bytes(size))
    os.utime(path, ns=(size, size))


def test_a_film_that_grows_is_not_complete(tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    write(film, 1)
    steps = [lambda size=size: write(film, size) for size in (2, 3, 4)]
    assert arrived(tmp_path, Clock(*steps, *[None] * 5)) == [("film.png", 3 + SETTLE_S)]


def test_each_film_comes_once_and_a_replaced_one_again(tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    write(film, 1)
    assert arrived(tmp_path, Clock(*[None] * 6, lambda: write(film, 9), *[None] * 6)) == [("film.png", 2), ("film.png", 9)]


def test_a_film_that_vanishes_and_comes_back_unchanged_is_a_film_again(tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    write(film, 1)
    assert arrived(tmp_path, Clock(*[None] * 4, film.unlink, None, lambda: write(film, 1), *[None] * 4)) == [
        *(("film.png", 2), ("film.png", 9))
    ]


def test_what_is_no_film_is_passed_over(tmp_path: Path) -> None:
    for name in ("notes.txt", ".film.png", "film.png.part"):
        write(tmp_path / name, 1)
    (tmp_path / "folder.png").mkdir()
    assert arrived(tmp_path, Clock(*[None] * 5)) == []


@pytest.mark.parametrize("damaged", [False, True])
def test_a_record_of_this_very_version_spares_the_film(tmp_path: Path, damaged: bool) -> None:
    film = tmp_path / "film.png"
    write(film, 5)
    said = Prediction(path="film.png", label=None, probability=None, threshold=0.5, decision="REJECTED", artifact="a", ms=1)
    record = encode_json(Record(film=Version(bytes=5, mtime_ns=5), sha256=None, time="now", prediction=said))
    sidecar_of(film).write_bytes(record[:20] if damaged else record)
    assert (Sidecars.version_read(film) is None) == damaged
    assert arrived(tmp_path, Clock(*[None] * 4)) == ([("film.png", 2)] if damaged else [])
    write(film, 6)
    assert arrived(tmp_path, Clock(*[None] * 4)) == [("film.png", 2)]
