"""Exact copies, and the families of patients that they tie together."""

from __future__ import annotations

import pytest

from tests.conftest import needs_kermany
from toolkit.data.cases import Case, Source
from toolkit.data.duplicates import duplicate_groups, patient_families


def film(patient: str, content: str) -> Case:
    return Case(f"{patient}-{content}", "train", 0, patient, "IM", content)


def test_films_of_equal_bytes_are_a_group() -> None:
    one, two, three = film("a", "x"), film("b", "x"), film("b", "x")
    assert duplicate_groups([one, film("a", "y"), two, three, film("c", "z")]) == [(one, two, three)]


def test_without_copies_there_is_no_group() -> None:
    assert duplicate_groups([film("a", "x"), film("a", "y")]) == []


@pytest.mark.parametrize(
    ("films", "families"),
    [
        (["a1", "b2"], {"a": "a", "b": "b"}),
        (["b1", "a1"], {"a": "a", "b": "a"}),
        (["c1", "b1", "b2", "a2"], {"a": "a", "b": "a", "c": "a"}),  # c and a share no film, but both share one with b
        (["a1", "b1", "c2", "d2", "d3", "b3"], {"a": "a", "b": "a", "c": "a", "d": "a"}),
        (["a1", "a1", "b2"], {"a": "a", "b": "b"}),
    ],
)
def test_a_shared_film_ties_patients_to_the_first_of_them(films: list[str], families: dict[str, str]) -> None:
    assert patient_families(tuple(film(name[0], name[1]) for name in films)) == families


@needs_kermany
def test_the_published_copies_of_the_kermany_set(kermany: Source) -> None:
    groups = {split: duplicate_groups(kermany.of(split)) for split in ("train", "test")}
    assert {split: sum(len(group) - 1 for group in found) for split, found in groups.items()} == {"train": 26, "test": 6}
    assert sum(map(len, groups.values())) == len(duplicate_groups(kermany.cases)) == 30  # none is on both sides
    assert all(len({case.label for case in group}) == 1 for found in groups.values() for group in found)
    names = [{case.name.rpartition("/")[2] for case in group} for group in groups["test"]]
    assert {"NORMAL2-IM-0095-0001.jpeg", "NORMAL2-IM-0096-0001.jpeg"} in names
