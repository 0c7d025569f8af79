"""One reader for a folder, a zip of it (never unpacked to disk) and a MedMNIST .npz."""

from __future__ import annotations

import functools
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from toolkit.core.files import sha256_of_bytes
from toolkit.core.labels import Labels
from toolkit.data.cases import ALL, SPLITS, Case, Source
from toolkit.data.medmnist import read_medmnist
from toolkit.data.patients import patient_of
from toolkit.errors import DataError
from toolkit.imaging.decode import SUFFIXES

PHANTOM_MARK = "phantom.json"  # lies in a folder of synthetic films; see data.phantom


def read_source(path: Path, labels: Labels | None = None) -> Source:
    """Read what lies at `path`. Raises DataError when nothing does, the layout is another one, a class is missing or a film
    cannot be read."""
    labels = labels or Labels()
    suffix = path.suffix.lower()
    if not path.exists():
        raise DataError(f"No data at {path}; {expected(labels)}.")
    if path.is_dir():
        source = _read_folder(path, labels)
    elif suffix == ".zip":
        source = _read_zip(path, labels)
    elif suffix == ".npz":
        source = read_medmnist(path)
    else:
        raise DataError(f"{path} is a file of type '{path.suffix}'; expected a folder, a .zip or a MedMNIST .npz.")
    _refuse_missing_class(source, labels)
    return source


def expected(labels: Labels) -> str:
    """The layouts that are understood, in words."""
    classes = f"{labels.negative}/ and {labels.positive}/"
    return f"expected train/ and test/ (val/ is optional), each with {classes}; or these two class folders alone; or a MedMNIST .npz"


def _read_folder(root: Path, labels: Labels) -> Source:
    names = [(Path(folder) / file).relative_to(root).as_posix() for folder, _, files in os.walk(root, followlinks=True) for file in files]
    return _from_tree(str(root), names, functools.partial(_file_bytes, root), labels)


def _file_bytes(root: Path, name: str) -> bytes:
    try:
        return (root / name).read_bytes()
    except OSError as cause:
        raise DataError(f"{root}: {name} cannot be read ({cause.strerror or cause}); remove or replace it.") from cause


def _read_zip(path: Path, labels: Labels) -> Source:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as cause:
        raise DataError(f"{path} is not a readable zip file ({cause}); copy or download it again.") from cause
    names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    return _from_tree(str(path), names, functools.partial(_member_bytes, archive), labels)


def _member_bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    """RuntimeError: encrypted; NotImplementedError: an unknown compression."""
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, OSError, EOFError) as cause:
        raise DataError(f"{archive.filename}: {name} cannot be read ({cause}); copy or download the archive again.") from cause


def _from_tree(where: str, names: list[str], raw: Callable[[str], bytes], labels: Labels) -> Source:
    visible = [name for name in sorted(names) if not _is_hidden(name)]
    placed = _shallowest(where, [(name, place) for name in visible if (place := _place(name, labels))])
    if not placed:
        raise DataError(f"{where} has another layout: found {_seen(visible)}; {expected(labels)}.")
    pictures = {name: place for name, place in placed if PurePosixPath(name).suffix.lower() in SUFFIXES}
    cases = tuple(_case(name, place, raw) for name, place in pictures.items())
    marks = [name for name in visible if PurePosixPath(name).name == PHANTOM_MARK]
    ignored = tuple(name for name in visible if name not in pictures and name not in marks)
    return Source(where, cases, raw, ignored, synthetic=bool(marks), prefix=placed[0][1].prefix)


def _case(name: str, place: Place, raw: Callable[[str], bytes]) -> Case:
    patient = patient_of(_below(name, place.prefix))
    return Case(name, place.split, place.label, patient.key, patient.group, sha256_of_bytes(raw(name)))


def _below(name: str, prefix: str) -> str:
    return name.removeprefix(f"{prefix}/")


class Place(NamedTuple):
    """Where a file of '.../SPLIT/CLASS/file' or '.../CLASS/file' belongs; `prefix` is what stands before."""

    prefix: str
    split: str
    label: int


def _place(name: str, labels: Labels) -> Place | None:
    *above, folder = PurePosixPath(name).parts[:-1] or ("",)
    if folder not in labels.names:
        return None
    split = above.pop() if above and above[-1] in SPLITS else ALL
    return Place("/".join(above), split, labels.number(folder))


def _shallowest(where: str, placed: list[tuple[str, Place]]) -> list[tuple[str, Place]]:
    """Drop copies of the tree that lie deeper, as the public zip of the Kermany set has them; several side by side are an error."""
    depths = {place.prefix: place.prefix.count("/") + bool(place.prefix) for _, place in placed}
    top = sorted(prefix for prefix, depth in depths.items() if depth == min(depths.values()))
    if len(top) > 1:
        raise DataError(f"{where} holds several sets side by side: {', '.join(top[:5])}; give one of them.")
    return [row for row in placed if row[1].prefix in top]


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _seen(names: list[str]) -> str:
    if not names:
        return "nothing (the folder is empty)"
    heads = Counter(parts[0] + "/" if len(parts := PurePosixPath(name).parts) > 1 else f"*{PurePosixPath(name).suffix}" for name in names)
    shown = ", ".join(f"{head} ({count} files)" for head, count in heads.most_common(5))
    return shown + (", ..." if len(heads) > 5 else "")


def _refuse_missing_class(source: Source, labels: Labels) -> None:
    for split in dict.fromkeys(case.split for case in source.cases):
        present = {case.label for case in source.of(split)}
        for number, name in enumerate(labels.names):
            if number not in present:
                inside = "" if split == ALL else f"{split}/"
                raise DataError(f"{source.where}: no picture in {inside}{name}; {expected(labels)}.")
    if not source.cases:
        raise DataError(f"{source.where}: the class folders hold no picture ({', '.join(sorted(SUFFIXES))}).")
