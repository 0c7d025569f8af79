"""Which files a path stands for: in order, without end where links run in a circle, and with nothing left out silently."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from toolkit.imaging.decode import DICOM_HEAD_BYTES, SUFFIXES, is_dicom

DIRECTORY = "DICOMDIR"  # PS3.10 8.6


def pictures_below(path: Path) -> Iterator[Path]:
    """All pictures below a folder in the order of their names; else the path itself, whatever it is.

    A picture is what has the suffix of one, were it a pipe or a broken link; whoever reads it says what it is. So is a DICOM file without
    a suffix or with a number as its name's end, as archives name them (IM000001, 1.2.840.113619.2). For the same reason a folder
    that cannot be listed, that is gone meanwhile, or that is only linked to and therefore not entered, is given out itself. Of a folder
    the names are held, and of those below it as they are entered; what comes into a folder after it was listed is not seen. Raises nothing.
    """
    nothing = True
    for picture in _below(path):
        nothing = False
        yield picture
    if nothing:
        yield path


def _below(top: Path) -> Iterator[Path]:
    """Without recursion: folders can be nested deeper than Python's calls."""
    waiting = [iter([(top, True)])]
    while waiting:
        path, is_folder = next(waiting[-1], (None, False))
        if path is None:
            waiting.pop()
        elif not is_folder:
            yield path
        else:
            try:
                waiting.append(_listed(path))
            except (OSError, ValueError):  # ValueError: a name that no file can have
                yield path


def _listed(folder: Path) -> Iterator[tuple[Path, bool]]:
    """What is of interest in a folder, by name, and whether it is a folder to be entered. Raises OSError, at once."""
    with os.scandir(folder) as entries:
        names = sorted((entry.name, _is_folder(entry, follow=False)) for entry in entries if _is_of_interest(entry))
    return ((folder / name, is_folder) for name, is_folder in names)


def _is_of_interest(entry: os.DirEntry[str]) -> bool:
    suffix = Path(entry.name).suffix.lower()
    return _is_folder(entry, follow=True) or suffix in SUFFIXES or ((suffix[1:].isdecimal() or not suffix) and _is_nameless_dicom(entry))


def _is_nameless_dicom(entry: os.DirEntry[str]) -> bool:
    """By its magic; False for a medium's directory of films, which has it too, and for what cannot be read."""
    if entry.name == DIRECTORY:
        return False
    try:
        if not entry.is_file():
            return False
        with open(os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:  # noqa: PTH123
            return is_dicom(stream.read(DICOM_HEAD_BYTES))
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str], *, follow: bool) -> bool:
    """False also where the system does not say, as of a link to itself."""
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:
        return False
