"""Folder, zip and MedMNIST file give the same films; anything else is told with what was seen and what was expected."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import PNEUMONIAMNIST, needs_kermany, needs_medmnist
from tests.data.conftest import NAMES, write_film
from toolkit.core.labels import Labels
from toolkit.data.cases import ALL, Source
from toolkit.data.check import check
from toolkit.data.sources import read_source
from toolkit.errors import DataError

EXPECTED = "expected train/ and test/ .val/ is optional., each with NORMAL/ and PNEUMONIA/"


def zip_of(folder: Path, prefixes: tuple[str, ...] = ("",)) -> Path:
    """A zip that holds the folder's files below each prefix."""
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for prefix in prefixes:
            for file in sorted(folder.rglob("*")):
                archive.write(file, f"{prefix}{file.relative_to(folder).as_posix()}")
    return target


def shown(source: Source) -> list[tuple[str, int, str, str]]:
    """What a case says of its film, without its place."""
    return sorted((case.split, case.label, case.patient, case.sha256) for case in source.cases)


def test_a_folder_gives_each_film_with_split_label_patient_and_digest(small: Path) -> None:
    source = read_source(small)
    assert {case.name for case in source.cases} == set(NAMES)
    case = next(case for case in source.cases if case.name == "train/PNEUMONIA/person1_virus_2.png")
    raw = (small / case.name).read_bytes()
    assert (case.split, case.label, case.patient, case.group) == ("train", 1, "virus/1", "virus")
    assert case.sha256 == hashlib.sha256(raw).hexdigest()
    assert source.raw(case.name) == raw
    assert [len(source.of(split)) for split in ("train", "val", "test")] == [4, 2, 2]
    assert len(source.of("train", "test")) == 6
    assert (source.ignored, source.synthetic) == ((), False)


def test_class_folders_alone_are_a_set_without_splits(write_films: Callable[..., Path]) -> None:
    source = read_source(write_films("NORMAL/a.png", "PNEUMONIA/b.png"))
    assert [(case.split, case.label) for case in source.cases] == [(ALL, 0), (ALL, 1)]


def test_other_class_names_can_be_declared(write_films: Callable[..., Path]) -> None:
    folder = write_films("healthy/a.png", "sick/b.png")
    source = read_source(folder, Labels(negative="healthy", positive="sick"))
    assert {case.name: case.label for case in source.cases} == {"healthy/a.png": 0, "sick/b.png": 1}


def test_a_zip_gives_the_cases_and_the_digest_of_its_folder(small: Path) -> None:
    folder, archive = read_source(small), read_source(zip_of(small))
    assert archive.cases == folder.cases
    assert archive.sha256() == folder.sha256()
    assert [archive.raw(name) for name in NAMES] == [folder.raw(name) for name in NAMES]


def test_a_zip_is_never_unpacked_to_disk(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, home = zip_of(small), small.parent
    shutil.rmtree(small)
    (home / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(home / "tmp"))
    source = read_source(path)
    assert all(source.raw(case.name) for case in source.cases)
    assert sorted(home.rglob("*")) == [path, home / "tmp"]


@pytest.mark.parametrize(
    "prefixes", [("chest_xray/",), ("data/chest_xray/",), ("chest_xray/", "__MACOSX/chest_xray/", "chest_xray/chest_xray/")]
)
def test_a_zip_may_hold_the_tree_below_a_folder_and_copies_of_it(prefixes: tuple[str, ...], small: Path) -> None:
    source = read_source(zip_of(small, prefixes))
    assert shown(source) == shown(read_source(small))
    assert all(case.name.startswith(prefixes[0]) for case in source.cases)


def test_equal_data_has_an_equal_digest_below_another_folder(small: Path) -> None:
    assert read_source(zip_of(small, ("chest_xray/",))).sha256() == read_source(small).sha256()


def test_the_digest_holds_names_labels_and_contents(small: Path) -> None:
    digests = {read_source(small).sha256()}
    write_film(small / NAMES[0], 99)
    digests.add(read_source(small).sha256())
    (small / NAMES[0]).rename(small / "train/NORMAL/IM-0009-0001.png")
    digests.add(read_source(small).sha256())
    (small / "train/NORMAL/IM-0009-0001.png").rename(small / "train/PNEUMONIA/IM-0009-0001.png")
    digests.add(read_source(small).sha256())
    assert len(digests) == 4


def test_hidden_files_are_passed_over_and_other_files_are_listed(small: Path) -> None:
    hidden = ("train/NORMAL/.DS_Store", "train/NORMAL/._IM-0001-0001.png", ".cache/train/NORMAL/x.png")
    other = ("notes.txt", "train/NORMAL/Thumbs.db", "train/OTHER/x.png")
    for name in hidden + other:
        (small / name).parent.mkdir(parents=True, exist_ok=True)
        (small / name).write_bytes(b"x")
    source = read_source(small)
    assert {case.name for case in source.cases} == set(NAMES)
    assert source.ignored == other


def test_suffixes_are_read_in_any_case(small: Path) -> None:
    (small / NAMES[0]).rename(small / "train/NORMAL/IM-0001-0001.PNG")
    assert "train/NORMAL/IM-0001-0001.PNG" in {case.name for case in read_source(small).cases}


def test_equal_file_names_of_another_form_are_different_patients(write_films: Callable[..., Path]) -> None:
    names = [f"{split}/{label}/0001.png" for split in ("train", "test") for label in ("NORMAL", "PNEUMONIA")]
    source = read_source(write_films(*names))
    assert len({case.patient for case in source.cases}) == 4


@pytest.mark.parametrize("packed", [False, True])
def test_drawn_films_are_marked_synthetic(packed: bool, phantoms: Path, tmp_path: Path) -> None:
    source = read_source(zip_of(Path(shutil.copytree(phantoms, tmp_path / "films"))) if packed else phantoms)
    assert source.synthetic
    assert source.ignored == ()


def test_a_missing_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"No data at .*nowhere; {EXPECTED}"):
        read_source(tmp_path / "nowhere")


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"found nothing \(the folder is empty\); {EXPECTED}"):
        read_source(tmp_path)


def test_another_layout_is_told_with_what_was_seen(write_films: Callable[..., Path]) -> None:
    folder = write_films("a/1.png", "a/2.png", "b/c/3.png", "4.jpeg")
    with pytest.raises(DataError, match=rf"has another layout: found a/ \(2 files\), .*; {EXPECTED}") as caught:
        read_source(folder)
    assert "b/ (1 files)" in str(caught.value)
    assert "*.jpeg (1 files)" in str(caught.value)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("train/NORMAL/a.png", "test/NORMAL/b.png", "test/PNEUMONIA/c.png"), "no picture in train/PNEUMONIA"),
        (("train/NORMAL/a.png", "train/PNEUMONIA/b.png", "test/PNEUMONIA/c.png"), "no picture in test/NORMAL"),
        (("NORMAL/a.png",), "no picture in PNEUMONIA"),
    ],
)
def test_a_missing_class_is_named(names: tuple[str, ...], words: str, write_films: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=f"{words}; {EXPECTED}"):
        read_source(write_films(*names))


def test_class_folders_without_a_picture_are_told(tmp_path: Path) -> None:
    (tmp_path / "NORMAL").mkdir()
    (tmp_path / "NORMAL" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"the class folders hold no picture \(\.bmp, \.dcm, \.dicom, \.jpeg"):
        read_source(tmp_path)


def test_a_link_to_nowhere_is_named(small: Path) -> None:
    (small / "train" / "NORMAL" / "IM-0007-0001.png").symlink_to(small / "gone.png")
    with pytest.raises(DataError, match=r"IM-0007-0001\.png"):
        read_source(small)


def test_a_file_of_another_type_is_told(tmp_path: Path) -> None:
    (tmp_path / "films.tar").write_bytes(b"x")
    with pytest.raises(DataError, match=r"is a file of type '\.tar'; expected a folder, a \.zip or a MedMNIST \.npz"):
        read_source(tmp_path / "films.tar")


@pytest.mark.parametrize("keep", [0, 100, -50])
def test_a_cut_zip_is_told(keep: int, small: Path) -> None:
    path = zip_of(small)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"films\.zip is not a readable zip file .*; copy or download it again"):
        read_source(path)


def test_a_zip_with_a_damaged_film_is_told(small: Path) -> None:
    path = zip_of(small)
    raw = bytearray(path.read_bytes())
    raw[400:410] = bytes(10)  # inside the first film
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"films\.zip"):
        read_source(path)


def test_an_encrypted_zip_is_told(small: Path) -> None:
    path = zip_of(small)
    raw = path.read_bytes()
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag "encrypted" of each entry, local and central
        head, *entries = raw.split(mark)
        raw = head + b"".join(mark + entry[: flags - 4] + bytes([entry[flags - 4] | 1]) + entry[flags - 3 :] for entry in entries)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"films\.zip.*encrypted"):
        read_source(path)


def medmnist(**changes: Any) -> dict[str, Any]:
    """The arrays of a small binary MedMNIST set: 6, 2 and 4 films."""
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in {"train": 6, "val": 2, "test": 4}.items():
        arrays[f"{split}_images"] = random.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    return {key: value for key, value in (arrays | changes).items() if value is not None}


def saved(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def test_a_medmnist_file_gives_its_arrays(tmp_path: Path) -> None:
    arrays = medmnist()
    source = read_source(saved(tmp_path / "mini.npz", arrays))
    assert [len(source.of(split)) for split in ("train", "val", "test")] == [6, 2, 4]
    assert [case.label for case in source.of("train")] == [0, 1, 0, 1, 0, 1]
    assert np.array_equal(source.raw(source.of("test")[2].name), arrays["test_images"][2])
    assert len({case.patient for case in source.cases}) == 12  # no patients are known
    assert {case.group for case in source.cases} == {"unknown"}


def test_the_val_part_of_a_medmnist_file_is_optional(tmp_path: Path) -> None:
    source = read_source(saved(tmp_path / "mini.npz", medmnist(val_images=None, val_labels=None)))
    assert len(source.cases) == 10


@needs_medmnist
def test_the_published_numbers_of_pneumoniamnist() -> None:
    source = read_source(PNEUMONIAMNIST)
    assert [len(source.of(split)) for split in ("train", "val", "test")] == [4708, 524, 624]
    assert sum(case.label for case in source.of("test")) == 390


@needs_kermany
def test_the_published_numbers_of_the_kermany_set(kermany: Source) -> None:
    films = {split: np.bincount([case.label for case in kermany.of(split)]).tolist() for split in ("train", "test")}
    assert films == {"train": [1341, 3875], "test": [234, 390]}


def test_missing_arrays_are_named_with_what_was_found(tmp_path: Path) -> None:
    path = saved(tmp_path / "mini.npz", medmnist(test_images=None, test_labels=None))
    with pytest.raises(DataError, match="lacks test_images, test_labels; found train_images, train_labels, val_images, val_labels"):
        read_source(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_images": np.zeros((6, 28, 28, 3), np.uint8)},
        {"train_images": np.zeros((6, 28), np.uint8)},
        {"train_images": np.zeros((6, 28, 28), np.uint16)},
        {"train_images": np.zeros((6, 28, 28), np.float32)},
        {"train_labels": np.array([[0], [1], [2], [0], [1], [2]])},
        {"train_labels": np.zeros((6, 14), np.uint8)},
        {"train_labels": np.array([[0], [1]])},
        {"val_labels": None},
    ],
    ids=["colour", "flat", "16 bits", "float", "three classes", "many labels", "fewer labels", "no val labels"],
)
def test_a_medmnist_file_of_another_kind_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    path = saved(tmp_path / "mini.npz", medmnist(**changes))
    with pytest.raises(DataError, match=r"mini\.npz.*[Ee]xpected"):
        check(read_source(path))


def npy(path: Path) -> bytes:
    np.save(path, np.zeros(3))
    return path.with_suffix(".npy").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "flipped", "npy", "pickled"])
def test_a_damaged_medmnist_file_is_told(damage: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "mini.npz", medmnist())
    raw = path.read_bytes()
    flipped = bytes(byte ^ (200 < at < 220) for at, byte in enumerate(raw))
    other = {"cut": raw[:2000], "text": b"hello", "empty": b"", "flipped": flipped, "npy": npy(tmp_path / "other")}
    if damage == "pickled":
        saved(path, medmnist(train_labels=np.array([{"a": 1}] * 6, dtype=object)))
    else:
        path.write_bytes(other[damage])
    with pytest.raises(DataError, match=r"mini\.npz is not a readable \.npz file .*; copy or download it again"):
        read_source(path)


def test_a_folder_reached_by_a_link_is_read(small: Path) -> None:
    linked = small.parent / "linked"
    linked.mkdir()
    for split in ("train", "test"):
        (linked / split).symlink_to(small / split)
    assert shown(read_source(linked)) == [row for row in shown(read_source(small)) if row[0] != "val"]


def test_several_sets_side_by_side_are_an_error(small: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / "both").mkdir(exist_ok=True)
        (tmp_path / "both" / name).symlink_to(small)
    with pytest.raises(DataError, match="holds several sets side by side: first, second; give one of them"):
        read_source(tmp_path / "both")
