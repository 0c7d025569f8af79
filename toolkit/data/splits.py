"""Train, held-out and test films: split by patient, never by image; exact duplicates stay on one side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from toolkit.core.recipe import DataSpec
from toolkit.data.cases import ALL, Case, Source
from toolkit.data.duplicates import patient_families
from toolkit.data.patients import patient_number
from toolkit.errors import DataError


@dataclass(frozen=True)
class Splits:
    """`holdout` chooses epochs and thresholds; `test` chooses nothing."""

    train: tuple[Case, ...]
    holdout: tuple[Case, ...]
    test: tuple[Case, ...]


def split_by_patient(source: Source, spec: DataSpec, seed: int, contradiction: Mapping[str, float] | None = None) -> Splits:
    """Hold out the share `spec.holdout` of the train patients of each list (bacteria, virus, batches of normals), by `spec.holdout_rule`.

    The rule 'conflict' wants `contradiction`: for each film of train, by name, how much its trivial statistics speak against its label
    (data.shortcuts).

    A `val` folder joins `train` first: the public one has 16 films, too few for anything. Raises DataError when
    there is no train or test split, a patient or an exact copy of a film is on both sides, or too few patients are left.
    """
    pool, test = source.of("train", "val"), source.of("test")
    if not pool or not test:
        raise DataError(f"{source.where}: found no {'train' if not pool else 'test'}/ split; training needs train/ and test/.")
    refuse_leaks(pool, test)
    held = _held_out(pool, spec, seed, contradiction or {})
    parts = [[case for case in pool if (case.patient in held) is side] for side in (False, True)]
    for name, part in zip(("train", "held-out"), parts, strict=True):
        if len({case.label for case in part}) < 2:
            raise DataError(f"{source.where}: too few patients to hold out {spec.holdout:.0%}; the {name} side lacks a class.")
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


def _held_out(pool: tuple[Case, ...], spec: DataSpec, seed: int, contradiction: Mapping[str, float]) -> set[str]:
    """Keys of the held-out patients. Those who share a copy of a film are held out together."""
    family = patient_families(pool)
    members: dict[str, set[str]] = defaultdict(set)
    list_of: dict[str, tuple[int, str]] = {}
    for case in pool:
        name = family[case.patient]
        members[name].add(case.patient)
        if name not in list_of or case.group in spec.kept_away:  # of several lists: with the one that is kept away
            list_of[name] = (case.label, case.group)
    lists: dict[tuple[int, str], list[str]] = defaultdict(list)
    for name, place in sorted(list_of.items()):
        lists[place].append(name)
    if spec.holdout_rule == "groups":
        held = _whole_lists(lists, spec)
    else:
        held = _shares(lists, spec.holdout, _order(pool, family, spec, seed, contradiction))
    return {patient for name in held for patient in members[name]}


def _order(
    pool: tuple[Case, ...], family: dict[str, str], spec: DataSpec, seed: int, contradiction: Mapping[str, float]
) -> Callable[[list[str]], list[str]]:
    """What brings the patients of a list into the order in which they are held out."""
    if spec.holdout_rule == "lowest":
        return lambda names: sorted(names, key=patient_number)
    if spec.holdout_rule == "conflict":
        worst: dict[str, float] = defaultdict(float)
        for case in pool:
            worst[family[case.patient]] = max(worst[family[case.patient]], contradiction[case.name])
        return lambda names: _every_second(sorted(names, key=lambda name: -worst[name]))
    random = np.random.default_rng(seed)
    return lambda names: [names[index] for index in random.permutation(len(names))]


def _every_second(names: list[str]) -> list[str]:
    """The films that contradict the short cut most teach most: half of them stay in training."""
    return names[::2] + names[1::2]


def _shares(lists: dict[tuple[int, str], list[str]], share: float, order: Callable[[list[str]], list[str]]) -> list[str]:
    """The first of each list, when brought into order."""
    return [name for _, names in sorted(lists.items()) for name in order(names)[: max(1, round(share * len(names)))]]


def _whole_lists(lists: dict[tuple[int, str], list[str]], spec: DataSpec) -> list[str]:
    """All patients of the lists kept away, and the lowest share of each list of a class from which nothing is kept away."""
    known = sorted({group for _, group in lists})
    unknown = [name for name in spec.kept_away if name not in known]
    if unknown or not spec.kept_away:
        raise DataError(f"data.kept_away names {', '.join(unknown) or 'no list'}; the lists of these films: {', '.join(known)}.")
    touched = {label for label, group in lists if group in spec.kept_away}
    held = [name for (_, group), names in lists.items() if group in spec.kept_away for name in names]
    rest = {place: names for place, names in lists.items() if place[0] not in touched}
    return held + _shares(rest, spec.holdout, lambda names: sorted(names, key=patient_number))
