"""Split by patient, never by image; exact copies stay on one side; a leak is refused."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.conftest import needs_kermany
from toolkit.data.cases import ALL, Case, Source
from toolkit.data.duplicates import duplicate_groups, patient_families
from toolkit.data.splits import Splits, labelled_films, refuse_leaks, split_by_patient
from toolkit.errors import DataError

GROUPS = {"IM": 0, "NORMAL2-IM": 0, "bacteria": 1, "virus": 1}


def film(name: str, split: str = "train", content: str | None = None) -> Case:
    """A case from a name such as 'virus/12/3': group, number of the patient, number of the film."""
    group, number, _ = name.split("/")
    return Case(f"{split}/{name}", split, GROUPS[group], f"{group}/{number}", group, content or f"{split}/{name}")


def source_of(cases: list[Case]) -> Source:
    return Source("memory", tuple(cases), lambda _: b"")


def many(patients: int = 20, films: int = 2) -> list[Case]:
    """The given number of train patients in each group, each with some films, and two test patients."""
    train = [film(f"{group}/{number}/{index}") for group in GROUPS for number in range(patients) for index in range(films)]
    return [*train, film("IM/900/0", "test"), film("virus/900/0", "test")]


def patients(cases: tuple[Case, ...]) -> set[str]:
    return {case.patient for case in cases}


def held_patients(splits: Splits) -> dict[str, int]:
    found: dict[str, set[str]] = defaultdict(set)
    for case in splits.holdout:
        found[case.group].add(case.patient)
    return {group: len(keys) for group, keys in found.items()}


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_on_both_sides_and_no_film_is_lost(seed: int) -> None:
    splits = split_by_patient(source_of(many()), 0.2, seed)
    assert not patients(splits.train) & patients(splits.holdout)
    assert sorted(case.name for case in (*splits.train, *splits.holdout, *splits.test)) == sorted(case.name for case in many())
    assert [case.name for case in splits.test] == ["test/IM/900/0", "test/virus/900/0"]


@pytest.mark.parametrize(("share", "held"), [(0.2, 4), (0.12, 2), (0.5, 10), (0.001, 1)])
def test_the_share_of_patients_of_each_group_is_held_out(share: float, held: int) -> None:
    assert held_patients(split_by_patient(source_of(many()), share, 1)) == dict.fromkeys(GROUPS, held)


def test_equal_seeds_hold_out_equal_patients_in_whatever_order_films_come() -> None:
    first = split_by_patient(source_of(many()), 0.2, 3)
    assert split_by_patient(source_of(many()), 0.2, 3) == first
    assert patients(split_by_patient(source_of(many()[::-1]), 0.2, 3).holdout) == patients(first.holdout)


def test_seeds_hold_out_different_patients() -> None:
    held = [patients(split_by_patient(source_of(many()), 0.2, seed).holdout) for seed in range(4)]
    assert all(first != second for index, first in enumerate(held) for second in held[:index])


@pytest.mark.parametrize("seed", range(10))
def test_exact_copies_stay_on_one_side(seed: int) -> None:
    copies = [film(f"{group}/{number}/9", content=f"{group}{number // 2}") for group in GROUPS for number in range(20)]
    splits = split_by_patient(source_of([*many(), *copies]), 0.2, seed)
    assert not {case.sha256 for case in splits.train} & {case.sha256 for case in splits.holdout}
    assert not patients(splits.train) & patients(splits.holdout)
    assert held_patients(splits) == dict.fromkeys(GROUPS, 4)  # two pairs of the ten


def test_a_val_folder_joins_train() -> None:
    extra = [film("IM/500/0", "val"), film("virus/500/0", "val")]
    splits = split_by_patient(source_of([*many(), *extra]), 0.2, 1)
    assert set(extra) <= {*splits.train, *splits.holdout}


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_patient_on_both_sides_is_refused_by_name(split: str) -> None:
    leak = film("virus/900/5", split)
    with pytest.raises(DataError, match=rf"The same patient is on both sides: {split}/virus/900/5 and test/virus/900/0, 1 films in all"):
        split_by_patient(source_of([*many(), leak]), 0.2, 1)


def test_a_copy_on_both_sides_is_refused_by_name() -> None:
    leaks = [film("IM/800/0", content="test/IM/900/0"), film("IM/801/0", content="test/IM/900/0")]
    with pytest.raises(DataError, match="The same exact copy of a film is on both sides: train/IM/800/0 and test/IM/900/0, 2 films in all"):
        split_by_patient(source_of([*many(), *leaks]), 0.2, 1)


def test_equal_numbers_of_other_lists_are_no_leak() -> None:
    train, test = (film("virus/12/0"), film("IM/7/0")), (film("bacteria/12/0", "test"), film("NORMAL2-IM/7/0", "test"))
    refuse_leaks(train, test)  # two children with one number: nothing to refuse
    with pytest.raises(DataError, match="The same patient is on both sides"):
        refuse_leaks(train, (*test, film("virus/12/1", "test")))


@pytest.mark.parametrize("group", GROUPS)
def test_too_few_patients_are_refused(group: str) -> None:
    other = "virus" if GROUPS[group] == 0 else "IM"
    few = [film(f"{group}/1/0"), film(f"{group}/1/1"), *(film(f"{other}/{number}/0") for number in range(9))]
    with pytest.raises(DataError, match="too few patients to hold out 20%; the train side lacks a class"):
        split_by_patient(source_of([*few, film("IM/900/0", "test"), film("virus/900/0", "test")]), 0.2, 1)


@pytest.mark.parametrize(("lost", "words"), [("test", "found no test/ split"), ("train", "found no train/ split")])
def test_a_missing_split_is_told(lost: str, words: str) -> None:
    with pytest.raises(DataError, match=f"memory: {words}; training needs train/ and test/"):
        split_by_patient(source_of([case for case in many() if case.split != lost]), 0.2, 1)


def test_a_model_is_judged_on_test_or_on_all_of_a_set_without_splits() -> None:
    assert [case.name for case in labelled_films(source_of(many()))] == ["test/IM/900/0", "test/virus/900/0"]
    bare = [film("IM/1/0", ALL), film("virus/1/0", ALL)]
    assert labelled_films(source_of(bare)) == tuple(bare)
    with pytest.raises(DataError, match="found no test/ split and no bare class folders to judge a model on"):
        labelled_films(source_of([case for case in many() if case.split == "train"]))


@needs_kermany
def test_the_kermany_set_is_split_by_patient(kermany: Source) -> None:
    splits = split_by_patient(kermany, 0.12, 1)
    sides = [patients(side) for side in (splits.train, splits.holdout, splits.test)]
    assert len(set.union(*sides)) == sum(map(len, sides)) == 1211 + 1353 + 1090 + 225 + 77 + 126
    assert len(splits.test) == 624
    assert len(splits.train) + len(splits.holdout) == 5216
    side = {case: name for name in ("train", "holdout", "test") for case in getattr(splits, name)}
    assert all(len({side[case] for case in group}) == 1 for group in duplicate_groups(kermany.cases))


@needs_kermany
def test_an_eighth_of_each_list_of_the_kermany_set_is_held_out(kermany: Source) -> None:
    family = patient_families(kermany.of("train"))
    families: dict[str, set[str]] = defaultdict(set)
    held: dict[str, set[str]] = defaultdict(set)
    chosen = {family[patient] for patient in patients(split_by_patient(kermany, 0.12, 1).holdout)}
    for case in kermany.of("train"):
        families[case.group].add(family[case.patient])
        held[case.group] |= {family[case.patient]} & chosen
    assert {group: len(found) / len(families[group]) for group, found in held.items()} == pytest.approx(
        dict.fromkeys(GROUPS, 0.12), abs=0.002
    )
