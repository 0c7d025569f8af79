"""Films on disk: decoded once, mapped, never trusted by their name, never half there."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from toolkit.core.files import sha256_of
from toolkit.core.preprocessing import Preprocessing
from toolkit.data import store
from toolkit.data.cases import Source
from toolkit.data.films import Films, prepare_films
from toolkit.data.sources import read_source
from toolkit.data.store import stored_films
from toolkit.errors import DataError, StorageError

LOOK = Preprocessing(size_px=16)


class Counted:
    """A source that keeps the names of the films that were read."""

    def __init__(self, source: Source) -> None:
        self.read: list[str] = []
        self.source = replace(source, raw=self._raw)
        self._below = source.raw

    def _raw(self, name: str) -> object:
        self.read.append(name)
        return self._below(name)


@pytest.fixture
def counted(small: Path) -> Counted:
    return Counted(read_source(small))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "films"


def stored(source: Source, folder: Path, look: Preprocessing = LOOK) -> Films:
    return stored_films(source, source.cases, look, folder, "read films")


def only_place(folder: Path) -> Path:
    (place,) = folder.iterdir()
    return place


def test_films_are_decoded_the_first_time_and_never_again(counted: Counted, folder: Path) -> None:
    first = stored(counted.source, folder)
    assert sorted(counted.read) == sorted(case.name for case in counted.source.cases)
    counted.read.clear()
    second = stored(counted.source, folder)
    assert counted.read == []
    assert np.array_equal(first.images, second.images)


def test_stored_films_are_the_prepared_films(counted: Counted, folder: Path) -> None:
    expected = prepare_films(counted.source, counted.source.cases, LOOK, "decode")
    for _ in range(2):  # decoded, and read back
        found = stored(counted.source, folder)
        assert np.array_equal(found.images, expected.images)
        assert (found.images.shape, found.images.dtype) == ((8, 1, 16, 16), np.uint8)
        assert found.labels.tolist() == expected.labels.tolist()
        assert (found.cases, found.unusable) == (expected.cases, ())


def test_the_file_is_an_ordinary_array(counted: Counted, folder: Path) -> None:
    films = stored(counted.source, folder)
    assert np.array_equal(np.load(only_place(folder) / "pixels.npy", allow_pickle=False), films.images)


def test_films_are_mapped_and_a_change_of_them_stays_in_memory(counted: Counted, folder: Path) -> None:
    stored(counted.source, folder)
    file = only_place(folder) / "pixels.npy"
    before = sha256_of(file)
    films = stored(counted.source, folder)
    assert isinstance(films.images.base, np.memmap)
    kept = films.images.copy()
    films.images[:] = 255 - films.images
    assert sha256_of(file) == before
    assert np.array_equal(stored(counted.source, folder).images, kept)


def flip_a_byte(place: Path) -> None:
    raw = bytearray((place / "pixels.npy").read_bytes())
    raw[-1] ^= 1
    (place / "pixels.npy").write_bytes(raw)


def truncate(place: Path) -> None:
    (place / "pixels.npy").write_bytes((place / "pixels.npy").read_bytes()[:-100])


def lose_the_pixels(place: Path) -> None:
    (place / "pixels.npy").unlink()


def describe(place: Path, text: str) -> None:
    (place / "films.json").write_text(text)


def put_in(place: Path, array: np.ndarray) -> None:  # type: ignore[type-arg]
    """Another array, truly described."""
    np.save(place / "pixels.npy", array)
    describe(place, json.dumps({"pixels_sha256": sha256_of(place / "pixels.npy")}))


DAMAGE: dict[str, Callable[[Path], None]] = {
    "a flipped byte": flip_a_byte,
    "a truncated file": truncate,
    "no pixels": lose_the_pixels,
    "a description of other pixels": lambda place: describe(place, json.dumps({"pixels_sha256": "0" * 64})),
    "a description without digest": lambda place: describe(place, "{}"),
    "a description of another form": lambda place: describe(place, json.dumps({"pixels_sha256": 7, "films": 8})),
    "a truncated description": lambda place: describe(place, '{"pixels_sha'),
    "an empty description": lambda place: describe(place, ""),
    "another number of films": lambda place: put_in(place, np.zeros((7, 1, 16, 16), np.uint8)),
    "another size": lambda place: put_in(place, np.zeros((8, 1, 32, 32), np.uint8)),
    "another type": lambda place: put_in(place, np.zeros((8, 1, 16, 16), np.float32)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_decoded_again_and_said_once(
    damage: str, counted: Counted, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)  # a library that another test used may have raised the level of the handler
    expected = stored(counted.source, folder).images.copy()
    DAMAGE[damage](only_place(folder))
    counted.read.clear()
    assert np.array_equal(stored(counted.source, folder).images, expected)
    assert len(counted.read) == 8
    assert [record.getMessage() for record in caplog.records] == [f"{only_place(folder)} is damaged; its films are decoded again"]
    counted.read.clear()
    assert np.array_equal(stored(counted.source, folder).images, expected)
    assert (counted.read, len(caplog.records)) == ([], 1)


def test_pixels_without_description_are_not_taken(counted: Counted, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    stored(counted.source, folder)
    (only_place(folder) / "films.json").unlink()
    counted.read.clear()
    stored(counted.source, folder)
    assert len(counted.read) == 8
    assert caplog.records == []


@pytest.mark.parametrize("change", [{"size_px": 20}, {"resample": "bicubic"}])
def test_another_preparation_has_a_folder_of_its_own(change: dict[str, int | str], counted: Counted, folder: Path) -> None:
    look = msgspec.structs.replace(LOOK, **change)
    for preparation in (LOOK, look, LOOK, look):
        expected = prepare_films(counted.source, counted.source.cases, preparation, "decode")
        assert np.array_equal(stored(counted.source, folder, preparation).images, expected.images)
    assert len(list(folder.iterdir())) == 2


def test_another_order_has_a_folder_of_its_own(counted: Counted, folder: Path) -> None:
    first, turned = stored(counted.source, folder), counted.source.cases[::-1]
    second = stored_films(counted.source, turned, LOOK, folder, "read films")
    assert np.array_equal(second.images, first.images[::-1])
    assert second.labels.tolist() == first.labels.tolist()[::-1]
    assert len(list(folder.iterdir())) == 2


def test_other_films_have_a_folder_of_their_own(counted: Counted, small: Path, folder: Path) -> None:
    before = stored(counted.source, folder)
    shutil.copy(small / before.cases[0].name, small / before.cases[1].name)
    after = stored(read_source(small), folder)
    assert np.array_equal(after.images[1], after.images[0])
    assert not np.array_equal(before.images[1], before.images[0])
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("change", [{"scale": 1 / 127.5}, {"offset": -1.0}, {"channels": 1}, {"normalise": "film"}])
def test_what_the_graph_does_is_no_matter_of_the_pixels(change: dict[str, float | str], counted: Counted, folder: Path) -> None:
    stored(counted.source, folder)
    counted.read.clear()
    stored(counted.source, folder, msgspec.structs.replace(LOOK, **change))
    assert counted.read == []
    only_place(folder)


def test_an_unusable_film_is_named_and_nothing_is_left(counted: Counted, small: Path, folder: Path) -> None:
    (small / "train/NORMAL/IM-0001-0001.png").write_bytes(b"")
    (small / "test/NORMAL/IM-0003-0001.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2 films cannot be used: .*IM-0003-0001\.png is not a picture.*IM-0001-0001\.png is empty"):
        stored(counted.source, folder)
    assert list(folder.iterdir()) == []


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from toolkit.core.preprocessing import Preprocessing
from toolkit.data.sources import read_source
from toolkit.data.store import stored_films

source = read_source(Path(sys.argv[1]))
last = source.cases[-1].name

def raw(name):
    if name == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return source.raw(name)

stored_films(replace(source, raw=raw), source.cases, Preprocessing(size_px=16), Path(sys.argv[2]), "read films")
"""


def test_a_kill_in_the_middle_leaves_nothing_that_is_taken_for_whole(counted: Counted, small: Path, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(small), str(folder)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    (partial,) = folder.iterdir()
    assert partial.name.startswith(".")
    assert not (partial / "films.json").exists()
    expected = prepare_films(counted.source, counted.source.cases, LOOK, "decode")
    assert np.array_equal(stored(counted.source, folder).images, expected.images)
    assert not only_place(folder).name.startswith(".")


def test_a_full_disk_is_one_sentence(counted: Counted, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PIXELS", "/dev/full")  # takes no byte
    with pytest.raises(StorageError, match=r"Cannot write .*: No space left on device; free some space or write elsewhere"):
        stored(counted.source, folder)
    assert list(folder.iterdir()) == []


FILLED = """
import sys
from pathlib import Path
from toolkit.core.preprocessing import Preprocessing
from toolkit.data.sources import read_source
from toolkit.data.store import stored_films
from toolkit.errors import StorageError

source = read_source(Path(sys.argv[1]))
try:
    stored_films(source, source.cases, Preprocessing(size_px=256), Path(sys.argv[2]) / "films", "read films")
except StorageError as error:
    print(error, [path.name for path in (Path(sys.argv[2]) / "films").iterdir()])
"""
SMALL_DISK = [
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs -o size=128k tmpfs "$1" && shift && exec "$@"',
    "sh",
]


def may_mount(place: Path) -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*SMALL_DISK, str(place), "true"], check=False, capture_output=True).returncode == 0
    )


def test_a_disk_that_fills_up_on_the_way_ends_no_process(small: Path, tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    if not may_mount(place):
        pytest.skip("no small disk can be mounted here")
    done = subprocess.run(
        [*SMALL_DISK, str(place), sys.executable, "-c", FILLED, str(small), str(place)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr}"
    assert "No space left on device; free some space" in done.stdout
    assert done.stdout.endswith("[]\n")
