"""One reader for a folder, a zip of it (never unpacked to disk) and a MedMNIST .npz."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from toolkit.core.files import sha256_of_bytes
from toolkit.core.labels import Labels
from toolkit.data.patients import patient_of
from toolkit.errors import DataError
from toolkit.imaging.decode import SUFFIXES, Pixels

SPLITS = ("train", "val", "test")
ALL = "all"  # a labelled folder without splits
EXPECTED = (
    "expected train/ and test/ (val/ is optional), each with NORMAL/ and PNEUMONIA/; or these two class folders alone; or a MedMNIST .npz"
)
PHANTOM_MARK = "phantom.json"  # lies in a folder of synthetic films; see data.phantom


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled film. `name` is its path inside the source, `sha256` that of its bytes."""

    name: str
    split: str
    label: int
    patient: str
    group: str
    sha256: str


@dataclass(frozen=True)
class Source:
    """Labelled films, and how to get the raw form of one: file bytes, or decoded grey pixels uint8 `[H, W]`."""

    where: str
    cases: tuple[Case, ...]
    raw: Callable[[str], bytes | Pixels]
    ignored: tuple[str, ...] = ()
    synthetic: bool = False

    def of(self, *splits: str) -> tuple[Case, ...]:
        """The cases of these splits."""
        return tuple(case for case in self.cases if case.split in splits)

    def sha256(self) -> str:
        """Digest of all names, labels and contents: equal data, equal digest, wherever it lies."""
        rows = sorted((case.name, case.label, case.sha256) for case in self.cases)
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read_source(path: Path, labels: Labels | None = None) -> Source:
    """Read what lies at `path`. Raises DataError when nothing does, when the layout is another one, or a class is missing."""
    labels = labels or Labels()
    if not path.exists():
        raise DataError(f"No data at {path}; {EXPECTED}.")
    if path.is_dir():
        source = _read_folder(path, labels)
    elif path.suffix == ".zip":
        source = _read_zip(path, labels)
    elif path.suffix == ".npz":
        source = _read_medmnist(path)
    else:
        raise DataError(f"{path} is a file of type '{path.suffix}'; expected a folder, a .zip or a MedMNIST .npz.")
    _refuse_missing_class(source, labels)
    return source


def _read_folder(root: Path, labels: Labels) -> Source:
    names = [(Path(folder) / file).relative_to(root).as_posix() for folder, _, files in os.walk(root, followlinks=True) for file in files]
    return _from_tree(str(root), names, lambda name: (root / name).read_bytes(), labels)


def _read_zip(path: Path, labels: Labels) -> Source:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as cause:
        raise DataError(f"{path} is not a readable zip file ({cause}); copy or download it again.") from cause
    names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    return _from_tree(str(path), names, archive.read, labels)


def _from_tree(where: str, names: list[str], raw: Callable[[str], bytes], labels: Labels) -> Source:
    visible = [name for name in sorted(names) if not _is_hidden(name)]
    placed = _shallowest([(name, place) for name in visible if (place := _place(name, labels))])
    if not placed:
        raise DataError(f"{where} has another layout: found {_seen(visible)}; {EXPECTED}.")
    pictures = {name: place for name, place in placed if PurePosixPath(name).suffix.lower() in SUFFIXES}
    cases = tuple(_case(name, *place[1:], raw) for name, place in pictures.items())
    marks = [name for name in visible if PurePosixPath(name).name == PHANTOM_MARK]
    ignored = tuple(name for name in visible if name not in pictures and name not in marks)
    return Source(where, cases, raw, ignored, synthetic=bool(marks))


def _case(name: str, split: str, label: int, raw: Callable[[str], bytes]) -> Case:
    patient = patient_of(PurePosixPath(name).name)
    return Case(name, split, label, patient.key, patient.group, sha256_of_bytes(raw(name)))


def _place(name: str, labels: Labels) -> tuple[str, str, int] | None:
    """(prefix, split, label) of '.../SPLIT/CLASS/file' or '.../CLASS/file'."""
    *above, folder = PurePosixPath(name).parts[:-1] or ("",)
    if folder not in labels.names:
        return None
    split = above.pop() if above and above[-1] in SPLITS else ALL
    return "/".join(above), split, labels.number(folder)


def _shallowest(placed: list[tuple[str, tuple[str, str, int]]]) -> list[tuple[str, tuple[str, str, int]]]:
    """Drop copies of the tree that lie deeper, as the public zip of the Kermany set has them."""
    prefixes = {place[0] for _, place in placed}
    keep = min(prefixes, key=lambda prefix: (prefix.count("/") + bool(prefix), prefix), default="")
    return [row for row in placed if row[1][0] == keep]


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _seen(names: list[str]) -> str:
    if not names:
        return "nothing (the folder is empty)"
    heads = Counter(parts[0] + "/" if len(parts := PurePosixPath(name).parts) > 1 else f"*{PurePosixPath(name).suffix}" for name in names)
    shown = ", ".join(f"{head} ({count} files)" for head, count in heads.most_common(5))
    return shown + (", ..." if len(heads) > 5 else "")


def _read_medmnist(path: Path) -> Source:
    """`{split}_images` uint8 `[N, H, W]` and `{split}_labels` `[N, 1]`; no patients are known."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile) as cause:
        raise DataError(f"{path} is not a readable .npz file ({cause}); copy or download it again.") from cause
    wanted = [f"{split}_{part}" for split in ("train", "test") for part in ("images", "labels")]
    if missing := [key for key in wanted if key not in arrays]:
        raise DataError(f"{path} lacks {', '.join(missing)}; found {', '.join(arrays) or 'nothing'}. Expected a binary MedMNIST set.")
    cases = tuple(case for split in SPLITS if f"{split}_images" in arrays for case in _medmnist_cases(arrays, split))
    return Source(str(path), cases, functools.partial(_medmnist_raw, arrays))


def _medmnist_cases(arrays: dict[str, Pixels], split: str) -> Iterable[Case]:
    images, numbers = arrays[f"{split}_images"], arrays[f"{split}_labels"].reshape(-1)
    for index, (image, label) in enumerate(zip(images, numbers, strict=True)):
        name = f"{split}/{index}"
        yield Case(name, split, int(label), name, "unknown", sha256_of_bytes(image.tobytes()))


def _medmnist_raw(arrays: dict[str, Pixels], name: str) -> Pixels:
    split, index = name.split("/")
    image: Pixels = arrays[f"{split}_images"][int(index)]
    return image


def _refuse_missing_class(source: Source, labels: Labels) -> None:
    for split in dict.fromkeys(case.split for case in source.cases):
        present = {case.label for case in source.of(split)}
        for number, name in enumerate(labels.names):
            if number not in present:
                inside = "" if split == ALL else f"{split}/"
                raise DataError(f"{source.where}: no picture in {inside}{name}; {EXPECTED}.")
    if not source.cases:
        raise DataError(f"{source.where}: the class folders hold no picture ({', '.join(sorted(SUFFIXES))}).")
