"""Groups of films: by name, by look, by a table; what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.data.cases import Case, Truth
from toolkit.data.groups import by_look, by_name, by_table, only
from toolkit.errors import DataError
from toolkit.imaging.look import Look


def case(name: str, group: str = "unknown") -> Case:
    return Case(f"test/PNEUMONIA/{name}", "test", 1, name, group, f"sha-{name}")


FILMS = Truth(tuple(case(name) for name in ("a.png", "b.png", "c.png")))


def table(folder: Path, text: str) -> Path:
    file = folder / "groups.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_names_give_cause_and_batch() -> None:
    cases = [case(str(number), group) for number, group in enumerate(("bacteria", "virus", "IM", "NORMAL2-IM", "unknown"))]
    found = by_name(cases)
    assert found["cause"].tolist() == ["bacteria", "virus", "", "", ""]
    assert found["batch"].tolist() == ["", "", "IM", "NORMAL2-IM", ""]
    assert by_name(cases[:1] * 2 + cases[4:]) == {}  # one group alone parts nothing


def test_looks_give_bands_of_size_and_thirds_of_quality() -> None:
    looks = [
        Look(edge, bright, 50.0, 0.1 * bright)
        for edge, bright in ((499, 1.0), (500, 2.0), (1999, 3.0), (2000, 4.0), (9000, 5.0), (999, 6.0))
    ]
    found = by_look(looks)
    assert found["size"].tolist() == [
        "below 500 px",
        "500 to 999 px",
        "1000 to 1999 px",
        "2000 px or more",
        "2000 px or more",
        "500 to 999 px",
    ]
    assert found["brightness"].tolist() == ["low", "low", "middle", "middle", "high", "high"]
    assert "contrast" not in found  # equal everywhere


def test_a_table_gives_each_of_its_columns(tmp_path: Path) -> None:
    file = table(tmp_path, "name,ward,age\na.png,east,child\ntest/PNEUMONIA/b.png, west ,\nz.png,east,adult\n")
    found, missing, strangers = by_table(file, FILMS)
    assert {kind: values.tolist() for kind, values in found.items()} == {"ward": ["east", "west", ""], "age": ["child", "", ""]}
    assert (missing, strangers) == (("test/PNEUMONIA/c.png",), ("z.png",))


def test_a_table_by_content_reaches_every_copy(tmp_path: Path) -> None:
    twice = Truth((*FILMS.cases, FILMS.cases[0]))
    found, missing, _ = by_table(table(tmp_path, "sha256,ward\nsha-a.png,east\n"), twice)
    assert found["ward"].tolist() == ["east", "", "", "east"]
    assert missing == ("test/PNEUMONIA/b.png", "test/PNEUMONIA/c.png")


def test_a_file_name_that_two_films_share_is_no_key(tmp_path: Path) -> None:
    double = Truth((case("a.png"), Case("test/NORMAL/a.png", "test", 0, "p", "unknown", "other")))
    _, missing, strangers = by_table(table(tmp_path, "name,ward\na.png,east\ntest/NORMAL/a.png,west\n"), double)
    assert (missing, strangers) == (("test/PNEUMONIA/a.png",), ("a.png",))


WRONG = {
    "film and groups alone": ("patient,ward\na,b\n", "has the columns patient, ward; expected one of name, path"),
    "no group": ("name\na.png\n", "has the columns name; expected"),
    "empty": ("", "has the columns of an empty file"),
    "no rows": ("name,ward\n", "has a head and no rows"),
    "a short row": ("name,ward\na.png\n", "the row of a.png has 1 cells, and the head has 2"),
    "a film twice": ("name,ward\na.png,x\na.png,y\n", "has 2 rows for a.png"),
    "none of the films": ("name,ward\nq.png,x\n", "None of the 1 rows of .* a film is named test/PNEUMONIA/a.png"),
    "none by content": ("sha256,ward\nq,x\n", "a film is named sha-a.png"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_table_says_what_is_wrong(wrong: str, tmp_path: Path) -> None:
    text, message = WRONG[wrong]
    with pytest.raises(DataError, match=message):
        by_table(table(tmp_path, text), FILMS)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv cannot be read as CSV"):
        by_table(tmp_path / "none.csv", FILMS)


def test_an_unknown_column_lists_those_there_are() -> None:
    groups = by_name([case("1", "bacteria"), case("2", "virus")])
    assert list(only(groups, ["cause"])) == ["cause"]
    with pytest.raises(DataError, match="There is no group column 'ward'; there are: cause"):
        only(groups, ["ward"])
