"""Train, held-out and test films: split by patient, never by image; exact duplicates stay on one side."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from toolkit.data.cases import ALL, Case, Source
from toolkit.data.duplicates import patient_families
from toolkit.errors import DataError


@dataclass(frozen=True)
class Splits:
    """`holdout` chooses epochs and thresholds; `test` chooses nothing."""

    train: tuple[Case, ...]
    holdout: tuple[Case, ...]
    test: tuple[Case, ...]


def split_by_patient(source: Source, holdout: float, seed: int) -> Splits:
    """Hold out the share `holdout` of the train patients of each group (bacteria, virus, batches of normals), drawn with `seed`.

    A `val` folder joins `train` first: the public one has 16 films, too few for anything. Raises DataError when
    there is no train or test split, a patient or an exact copy of a film is on both sides, or too few patients are left.
    """
    pool, test = source.of("train", "val"), source.of("test")
    if not pool or not test:
        raise DataError(f"{source.where}: found no {'train' if not pool else 'test'}/ split; training needs train/ and test/.")
    refuse_leaks(pool, test)
    held = _draw(pool, holdout, seed)
    parts = [[case for case in pool if (case.patient in held) is side] for side in (False, True)]
    for name, part in zip(("train", "held-out"), parts, strict=True):
        if len({case.label for case in part}) < 2:
            raise DataError(f"{source.where}: too few patients to hold out {holdout:.0%}; the {name} side lacks a class.")
    return Splits(tuple(parts[0]), tuple(parts[1]), test)


def labelled_films(source: Source) -> tuple[Case, ...]:
    """The films to judge a model on: the test split, or all of a folder without splits."""
    films = source.of("test") or source.of(ALL)
    if not films:
        raise DataError(f"{source.where}: found no test/ split and no bare class folders to judge a model on.")
    return films


def refuse_leaks(train: tuple[Case, ...], test: tuple[Case, ...]) -> None:
    """Raise DataError when a patient, or an exact copy of a film, is in both."""
    for what, key in (("patient", "patient"), ("exact copy of a film", "sha256")):
        other = {getattr(case, key): case for case in test}
        both = [(case, other[getattr(case, key)]) for case in train if getattr(case, key) in other]
        if both:
            first = f"{both[0][0].name} and {both[0][1].name}"
            raise DataError(f"The same {what} is on both sides: {first}, {len(both)} films in all; move them to one side.")


def _draw(pool: tuple[Case, ...], holdout: float, seed: int) -> set[str]:
    """Keys of the held-out patients."""
    family = patient_families(pool)
    members: dict[str, set[str]] = defaultdict(set)
    group_of: dict[str, str] = {}
    for case in pool:
        members[family[case.patient]].add(case.patient)
        group_of.setdefault(family[case.patient], f"{case.label}/{case.group}")
    by_group: dict[str, list[str]] = defaultdict(list)
    for name, group in sorted(group_of.items()):
        by_group[group].append(name)
    random = np.random.default_rng(seed)
    held: set[str] = set()
    for _, names in sorted(by_group.items()):
        chosen = random.permutation(len(names))[: max(1, round(holdout * len(names)))]
        held |= {patient for index in chosen for patient in members[names[index]]}
    return held
