"""Films in memory: the pixels of the one preparation; what cannot be used is listed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolkit.core.preprocessing import Preprocessing
from toolkit.data import films as films_file
from toolkit.data.cases import Case, Source, labels_of
from toolkit.data.films import Films, prepare_films, refuse_unusable
from toolkit.data.sources import read_source
from toolkit.errors import DataError
from toolkit.imaging.decode import Pixels

SMALL = Preprocessing(size_px=16)


def prepared(source: Source) -> Films:
    return prepare_films(source, source.cases, SMALL, "decode")


@pytest.fixture
def damaged(small: Path) -> Source:
    """Eight films, of which two cannot be used."""
    (small / "train/NORMAL/IM-0001-0001.png").write_bytes(b"")
    (small / "test/PNEUMONIA/person3_bacteria_4.png").write_bytes(b"no picture")
    return read_source(small)


def test_films_hold_the_pixels_of_their_files_in_the_order_of_the_cases(small: Path) -> None:
    source = read_source(small)
    films = prepared(source)
    assert (films.images.shape, films.images.dtype, films.labels.dtype) == ((8, 1, 16, 16), np.uint8, np.int64)
    assert films.cases == source.cases
    assert len(films) == 8
    assert films.unusable == ()
    for image, label, case in zip(films.images, films.labels, films.cases, strict=True):
        assert np.array_equal(image[0], Image.open(small / case.name).resize((16, 16), Image.Resampling.BILINEAR))
        assert label == ("PNEUMONIA" in case.name)


def test_decoded_arrays_are_prepared_as_files_are(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28), np.uint8)
    labels = np.array([[0], [1]])
    np.savez(tmp_path / "m.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    films = prepared(read_source(tmp_path / "m.npz"))
    expected = [np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR)) for image in images]
    assert np.array_equal(films.images[:2, 0], expected)


def test_an_unusable_film_is_left_out_and_listed(damaged: Source) -> None:
    films = prepared(damaged)
    assert films.unusable == (
        ("test/PNEUMONIA/person3_bacteria_4.png", "is not a picture; expected one of JPEG, PNG, BMP, TIFF, WEBP, DICOM"),
        ("train/NORMAL/IM-0001-0001.png", "is empty (0 bytes)"),
    )
    assert [case.name for case in films.cases] == [case.name for case in damaged.cases if case.name not in dict(films.unusable)]
    assert films.images.shape == (6, 1, 16, 16)
    assert films.labels.tolist() == [case.label for case in films.cases]


def test_unusable_films_are_refused_by_name(damaged: Source) -> None:
    with pytest.raises(DataError, match=r"2 films cannot be used: test/PNEUMONIA/person3_bacteria_4\.png is not a picture.*data check"):
        refuse_unusable(prepared(damaged).unusable)


def test_usable_films_pass(small: Path) -> None:
    refuse_unusable(prepared(read_source(small)).unusable)


def test_a_long_list_of_unusable_films_is_shortened(write_films: Callable[..., Path]) -> None:
    folder = write_films("PNEUMONIA/z.png", *(f"NORMAL/{index}.png" for index in range(7)))
    for path in (folder / "NORMAL").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="7 films cannot be used: ") as caught:
        refuse_unusable(prepared(read_source(folder)).unusable)
    assert str(caught.value).count("is empty") == 5


def test_no_film_gives_an_array_without_rows(small: Path) -> None:
    films = prepare_films(read_source(small), (), SMALL, "decode")
    assert (films.images.shape, films.labels.shape, len(films)) == ((0, 1, 16, 16), (0,), 0)


def test_some_films_are_taken_in_the_given_order(small: Path) -> None:
    films = prepared(read_source(small))
    taken = films.take([5, 0, 5])
    assert [case.name for case in taken.cases] == [films.cases[index].name for index in (5, 0, 5)]
    assert np.array_equal(taken.images, films.images[[5, 0, 5]])
    assert taken.labels.tolist() == [films.labels[index] for index in (5, 0, 5)]


class Counting:
    """A source of flat grey films (each its own level) that counts how far it is ahead of the consumer."""

    def __init__(self, count: int) -> None:
        self.cases = tuple(Case(str(level), "train", level % 2, str(level), "unknown", str(level)) for level in range(count))
        self.source = Source("memory", self.cases, self.raw)
        self.lock = threading.Lock()
        self.started = self.delivered = self.furthest_ahead = 0

    def raw(self, name: str) -> Pixels:
        with self.lock:
            self.started += 1
            self.furthest_ahead = max(self.furthest_ahead, self.started - self.delivered)
        time.sleep(0.002 * (int(name) % 3))  # films are not finished in their order
        return np.full((20, 20), int(name), np.uint8)


def test_films_are_made_a_few_ahead_of_the_consumer_and_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films_file, "AHEAD", 5)
    counting, levels = Counting(40), []
    for result in films_file.prepared(counting.source, counting.cases, SMALL, "decode"):
        counting.delivered += 1
        levels.append(int(result[0, 0]))  # type: ignore[index, call-overload]
        time.sleep(0.003)  # a slow consumer: without the limit all forty would be finished soon
    assert levels == list(range(40))
    assert 2 <= counting.furthest_ahead <= 5


def test_a_consumer_that_stops_early_leaves_the_rest_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films_file, "AHEAD", 5)
    counting = Counting(40)
    made = films_file.prepared(counting.source, counting.cases, SMALL, "decode")
    next(made)
    made.close()
    assert counting.started <= 6


def test_labels_are_those_of_the_cases() -> None:
    labels = labels_of(Counting(5).cases)
    assert (labels.tolist(), labels.dtype) == ([0, 1, 0, 1, 0], np.int64)
