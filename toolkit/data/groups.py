"""Groups of films in which a loss is looked for apart: by name, by size and look, by a table of the user's.

Compression is known to hurt small groups first (Hooker et al., "What Do Compressed Deep Neural Networks Forget?", 2019).
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from toolkit.data.cases import Case, Labelled, Source
from toolkit.errors import DataError
from toolkit.imaging.decode import Pixels
from toolkit.imaging.look import Look, look_of

Groups = Mapping[str, NDArray[np.str_]]
"""By kind, such as 'cause' or a column of a table: the group of each film, `[N]`; '' where it is in none."""

CAUSES = ("bacteria", "virus")
EDGES_PX = (500, 1000, 2000)
THIRDS = ("low", "middle", "high")
KEYS = ("name", "path", "file", "film", "sha256")


def by_name(cases: Sequence[Case]) -> Groups:
    """What the file names tell: the cause of a pneumonia, and the list ('batch') that numbers a film without one."""
    groups = np.array([case.group for case in cases], np.str_)
    known = np.where(groups == "unknown", "", groups)
    causes = np.isin(known, CAUSES)
    return _real({"cause": np.where(causes, known, ""), "batch": np.where(causes, "", known)})


def by_look(looks: Sequence[Look]) -> Groups:
    """The longer edge in bands, and thirds of brightness, contrast and sharpness on these films."""
    edges = np.array([look.longer_px for look in looks])
    names = [f"below {EDGES_PX[0]} px", *(f"{low} to {high - 1} px" for low, high in itertools.pairwise(EDGES_PX))]
    names.append(f"{EDGES_PX[-1]} px or more")
    found = {"size": np.array(names)[np.searchsorted(EDGES_PX, edges, "right")]}
    for kind in ("brightness", "contrast", "sharpness"):
        values = np.array([getattr(look, kind) for look in looks])
        found[kind] = np.array(THIRDS)[np.searchsorted(np.quantile(values, (1 / 3, 2 / 3)), values, "left")]
    return _real(found)


def by_table(table: Path, films: Labelled) -> tuple[Groups, tuple[str, ...], tuple[str, ...]]:
    """Each further column of a CSV file as a kind of group; films that have no row; rows that name no film.

    The first column is the key: `name` or `path` (the film's path below the folder, or its file name alone where that is unambiguous) or
    `sha256`. Raises DataError when the file cannot be read, has no such column, no further one, names a film twice or none of them.
    """
    head, rows = _read(table)
    place = _places(head[0], films)
    (key, count), *_ = Counter(row[0] for row in rows).most_common(1)
    if count > 1:
        raise DataError(f"{table} has {count} rows for {key}; leave one.")
    found = {kind: np.full(len(films.cases), "", dtype=object) for kind in head[1:]}
    strangers = []
    for key, *values in rows:
        if key not in place:
            strangers.append(key)
        for kind, value in zip(head[1:], values, strict=True):
            found[kind][place.get(key, [])] = value.strip()
    if len(strangers) == len(rows):
        raise DataError(f"None of the {len(rows)} rows of {table} names one of the {len(films.cases)} films; {_example(head[0], films)}.")
    named = {row for key, *_ in rows for row in place.get(key, [])}
    missing = tuple(case.name for row, case in enumerate(films.cases) if row not in named)
    return {kind: values.astype(np.str_) for kind, values in found.items()}, missing, tuple(strangers)


def looks_of(source: Source, cases: Sequence[Case], images: Pixels) -> list[Look]:
    """The look of each film; `images` uint8 `[N, 1, S, S]` are the prepared ones."""
    return [look_of(source.raw(case.name), image[0]) for case, image in zip(cases, images, strict=True)]


def only(groups: Groups, kinds: Sequence[str]) -> Groups:
    """Some kinds; raises DataError that lists those there are."""
    for kind in kinds:
        if kind not in groups:
            raise DataError(f"There is no group column '{kind}'; there are: {', '.join(groups)}.")
    return {kind: groups[kind] for kind in kinds}


def _real(groups: Groups) -> Groups:
    """Those kinds that part the films at all."""
    return {kind: values for kind, values in groups.items() if len(set(values.tolist()) - {""}) > 1}


def _read(table: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            head, *rows = [row for row in csv.reader(stream) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise DataError(f"{table} cannot be read as CSV ({cause}).") from cause
    head = [name.strip() for name in head]
    if not head or head[0] not in KEYS or len(head) < 2:
        raise DataError(f"{table} has the columns {', '.join(head) or 'of an empty file'}; expected one of {', '.join(KEYS)}, then groups.")
    short = next((row for row in rows if len(row) != len(head)), None)
    if short is not None:
        raise DataError(f"{table}: the row of {short[0]} has {len(short)} cells, and the head has {len(head)}.")
    if not rows:
        raise DataError(f"{table} has a head and no rows.")
    return head, rows


def _places(key: str, films: Labelled) -> dict[str, list[int]]:
    """Rows of the films that each possible key means."""
    place: dict[str, list[int]] = {}
    if key == "sha256":
        for row, case in enumerate(films.cases):
            place.setdefault(case.sha256, []).append(row)
        return place
    alone: dict[str, list[int]] = {}
    for row, case in enumerate(films.cases):
        place[case.name] = [row]
        alone.setdefault(PurePosixPath(case.name).name, []).append(row)
    return {name: rows for name, rows in alone.items() if len(rows) == 1} | place


def _example(key: str, films: Labelled) -> str:
    case = films.cases[0]
    return f"a film is named {case.sha256[:12]}..." if key == "sha256" else f"a film is named {case.name}"
