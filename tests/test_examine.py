"""What an explanation leaves: each file, the wrong calls in their order, nothing over what is not its own."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.report.test_report import Links
from toolkit import examine
from toolkit.core.artifacts import Checkpoint, Provenance
from toolkit.core.codec import read_json
from toolkit.core.evaluation import Evaluation
from toolkit.core.labels import Labels
from toolkit.core.operating import OperatingPoint
from toolkit.core.preprocessing import Preprocessing
from toolkit.data.cases import Case
from toolkit.data.films import Films
from toolkit.errors import DataError, InputError
from toolkit.examine import Examination, explain
from toolkit.models.registry import build
from toolkit.validate.evaluate import judge

LABELS = Labels(positive="SICK")
POINT = OperatingPoint(threshold=0.7, temperature=2.0)  # a film is called from a logit of 2 ln(.7/.3) = 1.69 on
# (name, label, logit): the wrong calls are lost (3.7 below the threshold), false (2.3 above) and near (1.2 below)
FILMS = (
    ("test/NORMAL/a.png", 0, -1.0),
    ("test/SICK/near.png", 1, 0.5),
    ("test/SICK/b.png", 1, 3.0),
    ("test/NORMAL/false.png", 0, 4.0),
    ("test/SICK/lost.png", 1, -2.0),
    ("test/NORMAL/c.png", 0, 1.5),
    ("test/SICK/d.png", 1, 2.0),
    ("test/NORMAL/e.png", 0, -3.0),
)


def examination(folder: Path, rows: tuple[tuple[str, int, float], ...] = FILMS) -> Examination:
    """A checkpoint that scores films as `rows` say; its network is any."""
    folder.mkdir(parents=True, exist_ok=True)
    look = Preprocessing(size_px=32)
    torch.manual_seed(0)
    network = build("szanet", look).eval()
    images = np.random.default_rng(0).integers(0, 256, (len(rows), 1, 32, 32), np.uint8)
    cases = tuple(Case(name, "test", label, name, "unknown", name) for name, label, _ in rows)
    films = Films(images, np.array([label for _, label, _ in rows], np.int64), cases, (("test/SICK/torn.png", "is empty (0 bytes)"),))
    logits = np.array([logit for _, _, logit in rows], np.float32)
    checkpoint = Checkpoint(
        model="szanet",
        preprocessing=look,
        labels=LABELS,
        operating=POINT,
        weights_sha256="0" * 64,
        epochs=1,
        provenance=Provenance(recipe_sha256="0" * 64, data_sha256="0" * 64),
    )
    return Examination(folder, checkpoint, network, films, logits, judge("szanet (torch)", films, logits, POINT, synthetic=True))


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one explanation of three films; read only."""
    folder = tmp_path_factory.mktemp("explained")
    (folder / "history.csv").write_text(
        "epoch,train_loss,holdout_loss,holdout_auc,learning_rate\n1.0,0.7,0.6,0.8,0.1\n2.0,0.5,0.4,0.9,0.1\n", encoding="ascii"
    )
    assert explain(examination(folder), folder / "out", 3) == folder / "out" / "report.html"
    return folder / "out"


def test_an_explanation_leaves_its_files_and_no_other(explained: Path) -> None:
    found = {path.relative_to(explained).as_posix() for path in explained.rglob("*") if path.is_file()}
    pictures = {f"{name}.svg" for name in ("curves", "confusion", "training", "features")}
    maps = {path for path in found if path.startswith("films/")}
    assert found - maps == {*pictures, "misclassified.csv", "evaluation.json", "report.html"}
    assert len(maps) == 3
    assert not [path for path in explained.parent.iterdir() if path.name.startswith(".")]


def test_pictures_are_what_their_names_say(explained: Path) -> None:
    for path in explained.glob("*.svg"):
        assert path.read_text(encoding="utf-8").startswith("<?xml")
    for path in explained.glob("films/*"):
        assert path.suffix == ".png"
        assert path.read_bytes().startswith(b"\x89PNG\r\n")


def test_wrong_calls_are_listed_the_surest_first(explained: Path) -> None:
    rows = list(csv.reader(io.StringIO((explained / "misclassified.csv").read_text(encoding="utf-8"))))
    assert rows[0] == ["path", "label", "called", "probability", "threshold"]
    assert rows[1:] == [
        ["test/SICK/lost.png", "SICK", "NORMAL", "0.268941", "0.700000"],  # 1 / (1 + e^(2/2))
        ["test/NORMAL/false.png", "NORMAL", "SICK", "0.880797", "0.700000"],  # 1 / (1 + e^(-4/2))
        ["test/SICK/near.png", "SICK", "NORMAL", "0.562177", "0.700000"],  # 1 / (1 + e^(-.5/2))
    ]


def test_the_metrics_are_those_of_the_films(explained: Path) -> None:
    found = read_json(explained / "evaluation.json", Evaluation)
    assert (found.confusion.tp, found.confusion.fp, found.confusion.tn, found.confusion.fn) == (2, 1, 3, 2)
    assert (found.n, found.threshold, found.recall, found.specificity) == (8, 0.7, 0.5, 0.75)
    assert found.at_half["recall"] == 0.75  # of logits 3, .5, 2 and -2
    assert found.at_half["specificity"] == 0.5  # 4 and 1.5 are above zero
    assert found.roc_auc == (2 + 3 + 1 + 3) / 16  # healthy films below .5, 3, -2 and 2
    assert found.unusable == {"test/SICK/torn.png": "is empty (0 bytes)"}


def test_the_page_needs_nothing_beside_itself(explained: Path) -> None:
    links, page = Links(), (explained / "report.html").read_text(encoding="utf-8")
    links.feed(page)
    assert links.pictures == len(links.fetched) == 4 + 3
    assert sum(link.startswith("data:image/svg+xml;base64,") for link in links.fetched) == 4
    assert sum(link.startswith("data:image/png;base64,") for link in links.fetched) == 3
    assert "url(" not in page
    assert "@import" not in page
    assert "Synthetic films." in page


def chosen(found: Examination, out: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Titles of the films that maps were drawn of, in the order of the page; nothing is drawn."""
    titles: list[str] = []
    monkeypatch.setattr(examine, "_pictures", lambda _: {})
    monkeypatch.setattr(examine.plots, "film_maps", lambda _film, _maps, title: titles.append(title) or b"\x89PNG")
    explain(found, out, count)
    assert len(list((out / "films").iterdir())) == len(titles)
    return titles


def names(titles: list[str]) -> list[str]:
    return [title.partition(":")[0].rpartition("/")[2] for title in titles]


def test_maps_come_with_the_truth_and_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = chosen(examination(tmp_path), tmp_path / "out", 2, monkeypatch)
    assert titles[0] == "test/SICK/lost.png: SICK, called NORMAL (0.269)"
    assert titles[1].endswith(("d.png: SICK, called SICK (0.731)", "b.png: SICK, called SICK (0.818)"))


@pytest.mark.parametrize(
    ("count", "wrong"), [(0, []), (1, ["lost.png"]), (4, ["lost.png", "false.png"]), (8, ["lost.png", "false.png", "near.png"])]
)
def test_at_most_half_of_the_films_are_wrong_calls(count: int, wrong: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = names(chosen(examination(tmp_path), tmp_path / "out", count, monkeypatch))
    assert shown[: len(wrong)] == wrong
    assert len(shown) == len(set(shown)) == count
    right = shown[len(wrong) :]
    assert set(right) <= {"a.png", "b.png", "c.png", "d.png", "e.png"}
    assert abs(sum(name in ("b.png", "d.png") for name in right) - len(right) / 2) <= 0.5  # of both classes alike


def test_more_films_than_there_are_draws_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = names(chosen(examination(tmp_path), tmp_path / "out", 100, monkeypatch))
    assert sorted(shown) == sorted(Path(name).name for name, _, _ in FILMS)


def test_a_network_that_calls_all_films_alike_shows_right_calls_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple((name, label, 9.0) for name, label, _ in FILMS)
    shown = chosen(examination(tmp_path, rows), tmp_path / "out", 6, monkeypatch)
    assert [title.partition(": ")[2].partition(" (")[0] for title in shown] == ["NORMAL, called SICK"] * 3 + ["SICK, called SICK"] * 3


def test_without_a_history_there_is_no_picture_of_training(tmp_path: Path) -> None:
    explain(examination(tmp_path), tmp_path / "out", 0)
    assert not (tmp_path / "out" / "training.svg").exists()
    assert (tmp_path / "out" / "features.svg").exists()
    assert list((tmp_path / "out" / "films").iterdir()) == []


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        (lambda row: row[1] == 1, r"Found 4 usable films of 1 class\(es\); an explanation needs 5, and both classes"),
        (lambda row: row[0][-5] in "abcd", r"Found 4 usable films of 2 class\(es\); an explanation needs 5"),
    ],
)
def test_too_few_films_and_films_of_one_class_are_refused(
    keep: Callable[[tuple[str, int, float]], bool], words: str, tmp_path: Path
) -> None:
    rows = tuple(row for row in FILMS if keep(row))[:4]
    with pytest.raises(DataError, match=words):
        explain(examination(tmp_path, rows), tmp_path / "out", 2)
    assert not (tmp_path / "out").exists()


def test_six_films_of_one_class_are_refused(tmp_path: Path) -> None:
    rows = tuple((f"test/SICK/{number}.png", 1, float(number)) for number in range(6))
    with pytest.raises(DataError, match=r"Found 6 usable films of 1 class"):
        explain(examination(tmp_path, rows), tmp_path / "out", 2)


def test_an_earlier_explanation_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen(examination(tmp_path), tmp_path / "out", 8, monkeypatch)
    chosen(examination(tmp_path), tmp_path / "out", 1, monkeypatch)
    assert [path.name for path in (tmp_path / "out" / "films").iterdir()] == ["test_SICK_lost.png.png"]


def test_an_empty_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    assert names(chosen(examination(tmp_path), tmp_path / "out", 1, monkeypatch)) == ["lost.png"]


def test_a_folder_of_other_things_is_not_overwritten(tmp_path: Path) -> None:
    found = examination(tmp_path / "train")
    (tmp_path / "train" / "weights.safetensors").write_bytes(b"hours of training")
    for out in (tmp_path / "train", tmp_path, tmp_path / "train" / "weights.safetensors"):
        with pytest.raises(InputError, match=r"exists already and is no earlier explanation; give a new folder with --out"):
            explain(found, out, 1)
    assert (tmp_path / "train" / "weights.safetensors").read_bytes() == b"hours of training"


def test_the_features_of_many_films_are_those_of_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "MAX_EMBEDDED", 6)
    seen: list[int] = []
    monkeypatch.setattr(examine, "embed", lambda values: seen.append(len(values)) or {"PCA": np.zeros((len(values), 2))})
    explain(examination(tmp_path), tmp_path / "out", 0)
    assert seen == [6, 6]
