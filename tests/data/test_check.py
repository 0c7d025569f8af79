"""The hygiene report, on sets whose faults are known."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.conftest import needs_kermany
from tests.data.conftest import write_film
from toolkit.core.codec import decode_json, encode_json
from toolkit.core.labels import Labels
from toolkit.data.cases import Source
from toolkit.data.check import DataReport, check
from toolkit.data.sources import read_source


def test_a_clean_set_has_counts_and_no_finding(small: Path) -> None:
    report = check(read_source(small))
    assert report.films == {
        "train": {"NORMAL": 2, "PNEUMONIA": 2},
        "val": {"NORMAL": 1, "PNEUMONIA": 1},
        "test": {"NORMAL": 1, "PNEUMONIA": 1},
    }
    assert report.patients == {
        "train": {"IM": 1, "NORMAL2-IM": 1, "bacteria": 1, "virus": 1},
        "val": {"IM": 1, "virus": 1},
        "test": {"IM": 1, "bacteria": 1},
    }
    assert (report.where, report.synthetic, report.without_patient) == (str(small), False, 0)
    assert (report.duplicates, report.contradictions, report.leaks, report.unusable, report.ignored) == ((), (), {}, {}, ())
    assert report.sha256 == read_source(small).sha256()


def test_two_films_of_one_patient_count_as_one_patient(small: Path) -> None:
    write_film(small / "train/NORMAL/IM-0001-0002.png", 50)
    report = check(read_source(small))
    assert report.films["train"]["NORMAL"] == 3
    assert report.patients["train"]["IM"] == 1


def test_a_patient_in_train_and_test_is_a_leak(small: Path) -> None:
    write_film(small / "test/PNEUMONIA/person1_virus_9.png", 50)
    leaks = check(read_source(small)).leaks
    assert list(map(set, leaks.values())) == [{"train/PNEUMONIA/person1_virus_2.png", "test/PNEUMONIA/person1_virus_9.png"}]
    assert list(leaks) == ["patient virus/1"]


def test_a_copy_in_val_and_test_is_a_leak_and_a_duplicate(small: Path) -> None:
    shutil.copy(small / "val/NORMAL/IM-0002-0001.png", small / "test/NORMAL/IM-0044-0001.png")
    report = check(read_source(small))
    names = {"val/NORMAL/IM-0002-0001.png", "test/NORMAL/IM-0044-0001.png"}
    assert [set(group) for group in report.duplicates] == [names]
    assert list(map(set, report.leaks.values())) == [names]
    assert next(iter(report.leaks)).startswith("copy ")
    assert report.contradictions == ()


def test_train_and_val_may_share_a_patient(small: Path) -> None:
    write_film(small / "val/NORMAL/IM-0001-0009.png", 50)
    assert check(read_source(small)).leaks == {}


def test_a_copy_with_another_label_is_a_contradiction(small: Path) -> None:
    shutil.copy(small / "train/NORMAL/IM-0001-0001.png", small / "train/PNEUMONIA/person77_virus_1.png")
    report = check(read_source(small))
    assert [set(group) for group in report.contradictions] == [{"train/NORMAL/IM-0001-0001.png", "train/PNEUMONIA/person77_virus_1.png"}]
    assert report.leaks == {}


def test_unusable_and_other_files_are_listed(small: Path) -> None:
    (small / "train/NORMAL/IM-0001-0001.png").write_bytes(b"")
    (small / "notes.txt").write_text("x")
    report = check(read_source(small))
    assert report.unusable == {"train/NORMAL/IM-0001-0001.png": "is empty (0 bytes)"}
    assert report.ignored == ("notes.txt",)


def test_films_that_name_no_patient_are_counted(small: Path) -> None:
    write_film(small / "train/NORMAL/some.png", 50)
    write_film(small / "train/NORMAL/other.png", 51)
    report = check(read_source(small))
    assert report.without_patient == 2
    assert report.patients["train"]["unknown"] == 2


def test_classes_have_the_declared_names(small: Path) -> None:
    for split in ("train", "val", "test"):
        (small / split / "PNEUMONIA").rename(small / split / "SICK")
    labels = Labels(positive="SICK")
    assert check(read_source(small, labels), labels).films["test"] == {"NORMAL": 1, "SICK": 1}


def test_drawn_films_are_clean_and_marked(phantoms: Path) -> None:
    report = check(read_source(phantoms))
    assert report.synthetic
    assert (report.leaks, report.contradictions, report.duplicates, report.unusable) == ({}, (), (), {})


def test_a_report_survives_json_and_back(small: Path) -> None:
    report = check(read_source(small))
    assert decode_json(encode_json(report), DataReport, "here") == report


@needs_kermany
def test_the_test_films_of_the_kermany_set(kermany: Source) -> None:
    report = check(Source(kermany.where, kermany.of("test"), kermany.raw))
    assert report.films == {"test": {"NORMAL": 234, "PNEUMONIA": 390}}
    assert len(report.duplicates) == 6
    assert (report.leaks, report.contradictions, report.unusable, report.without_patient) == ({}, (), {}, 0)
