"""Who is on a film, for every form of name in the Kermany set."""

from __future__ import annotations

import pytest

from tests.conftest import needs_kermany
from toolkit.data.cases import Source
from toolkit.data.patients import patient_number, patient_of


@pytest.mark.parametrize(
    ("name", "group", "number"),
    [
        ("person12_virus_48.jpeg", "virus", 12),
        ("person12_bacteria_48.jpeg", "bacteria", 12),
        ("person1000_bacteria_2931.jpeg", "bacteria", 1000),
        ("person1345_virus_2319_1.jpeg", "virus", 1345),
        ("IM-0115-0001.jpeg", "IM", 115),
        ("IM-0011-0001-0002.jpeg", "IM", 11),
        ("NORMAL2-IM-0095-0001.jpeg", "NORMAL2-IM", 95),
        ("NORMAL2-IM-0173-0001-0002.jpeg", "NORMAL2-IM", 173),
    ],
)
def test_the_group_and_the_number_come_from_the_name(name: str, group: str, number: int) -> None:
    patient = patient_of(name)
    assert patient.group == group
    assert patient.key == f"{group}/{number}"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("person12_virus_48.jpeg", "person12_virus_49_1.png"),
        ("IM-0011-0001.jpeg", "IM-0011-0001-0002.jpeg"),
        ("NORMAL2-IM-0173-0001-0001.jpeg", "NORMAL2-IM-0173-0002.jpeg"),
        ("IM-0095-0001.jpeg", "IM-95-0002.jpeg"),
    ],
)
def test_films_of_one_patient(first: str, second: str) -> None:
    assert patient_of(first) == patient_of(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("person12_virus_48.jpeg", "person12_bacteria_48.jpeg"),
        ("IM-0095-0001.jpeg", "NORMAL2-IM-0095-0001.jpeg"),
        ("person1_virus_11.jpeg", "person11_virus_1.jpeg"),
        ("IM-0001-0010.jpeg", "IM-0010-0001.jpeg"),
    ],
)
def test_films_of_two_patients(first: str, second: str) -> None:
    assert patient_of(first).key != patient_of(second).key


@pytest.mark.parametrize(
    "name", ["film.jpeg", "0001.png", "person12.jpeg", "person_virus_1.jpeg", "my-IM-0001-0001.jpeg", "person5_fungus_1.jpeg"]
)
def test_a_name_of_another_form_is_a_patient_of_its_own(name: str) -> None:
    assert patient_of(name).group == "unknown"
    assert patient_of(name).key != patient_of(f"other-{name}").key


def test_patients_of_a_list_are_sorted_by_their_number() -> None:
    keys = ["virus/100", "virus/9", "virus/20", "virus/1000", "virus/0"]
    assert sorted(keys, key=patient_number) == ["virus/0", "virus/9", "virus/20", "virus/100", "virus/1000"]


def test_patients_without_a_number_come_last_and_by_name() -> None:
    names = ["b.png", "person7_virus_1.jpeg", "a.png", "person30_virus_1.jpeg"]
    keys = sorted((patient_of(name).key for name in names), key=patient_number)
    assert keys == ["virus/7", "virus/30", "unknown/a.png", "unknown/b.png"]


@needs_kermany
@pytest.mark.parametrize(
    ("split", "normal", "bacteria", "virus"),
    [("train", 1211, 1353, 1090), ("test", 225, 77, 126)],
)
def test_the_published_numbers_of_patients(split: str, normal: int, bacteria: int, virus: int, kermany: Source) -> None:
    cases = kermany.of(split)
    assert {case.group for case in cases} == {"IM", "NORMAL2-IM", "bacteria", "virus"}
    assert len({case.patient for case in cases if case.label == 0}) == normal
    assert len({case.patient for case in cases if case.group == "bacteria"}) == bacteria
    assert len({case.patient for case in cases if case.group == "virus"}) == virus


@needs_kermany
def test_the_lists_of_train_are_numbered_apart(kermany: Source) -> None:
    numbers = {
        group: {case.patient.split("/")[1] for case in kermany.of("train") if case.group == group} for group in ("bacteria", "virus")
    }
    assert len(numbers["bacteria"] & numbers["virus"]) == 808
