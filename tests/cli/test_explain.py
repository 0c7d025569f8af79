"""`explain` and `evaluate` of a checkpoint: the figures of the run that made it, one sentence for each wrong input."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import call_cli
from tests.report.test_report import Links
from toolkit.train.checkpoint import load_checkpoint

Captured = pytest.CaptureFixture[str]


def phantoms_of(run: Path) -> Path:
    (folder,) = run.glob("phantoms-*")
    return folder


def scores(checkpoint: Path, films: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """(labels, logits, probabilities) of the test films, in the order of their names, by Pillow and torch alone."""
    import torch

    described, network = load_checkpoint(checkpoint)
    paths = sorted((films / "test").glob("*/*"))
    edge = described.preprocessing.size_px
    pictures = [np.asarray(Image.open(path).convert("L").resize((edge, edge), Image.Resampling.BILINEAR)) for path in paths]
    with torch.no_grad():
        logits = network(torch.tensor(np.stack(pictures)).float()[:, None].repeat(1, 3, 1, 1) / 255).numpy()
    labels = np.array([path.parent.name == "PNEUMONIA" for path in paths])
    return labels, logits, 1 / (1 + np.exp(-logits.astype(np.float64) / described.operating.temperature))


def test_explain_writes_a_page_and_says_where(finished_run: Path, phantoms: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "explained"
    assert call_cli("explain", finished_run / "train", "--data", phantoms, "--out", out, "--films", "2") == 0
    labels, _, probabilities = scores(finished_run / "train", phantoms)
    threshold = json.loads((finished_run / "train" / "checkpoint.json").read_text())["operating"]["threshold"]
    wrong = int(((probabilities >= threshold) != labels).sum())
    assert capsys.readouterr().out == f"explain: {out / 'report.html'}   ({len(labels)} films, {wrong} called wrongly)\n"
    with (out / "misclassified.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == wrong
    assert len(list((out / "films").iterdir())) == 2
    assert (out / "training.svg").is_file()
    links, page = Links(), (out / "report.html").read_text(encoding="utf-8")
    links.feed(page)
    assert links.pictures == 4 + 2
    assert all(link.startswith(("data:image/svg+xml;base64,", "data:image/png;base64,")) for link in links.fetched)


def test_explain_writes_beside_the_checkpoint_unless_told(finished_run: Path, phantoms: Path, tmp_path: Path, capsys: Captured) -> None:
    checkpoint = Path(shutil.copytree(finished_run / "train", tmp_path / "train"))
    torn = Path(shutil.copytree(phantoms, tmp_path / "films"))
    victim = sorted((torn / "test" / "NORMAL").iterdir())[0]
    victim.write_bytes(b"")
    assert call_cli("explain", checkpoint, "--data", torn, "--films", "0") == 3  # done, but a film was left out
    out, err = capsys.readouterr()
    assert str(checkpoint / "explain" / "report.html") in out
    assert err.splitlines() == [f"test/NORMAL/{victim.name}: is empty (0 bytes)", "1 of the inputs could not be used."]
    assert (checkpoint / "explain" / "report.html").is_file()
    assert (checkpoint / "weights.safetensors").is_file()


def test_evaluate_of_a_checkpoint_repeats_what_its_run_says(finished_run: Path, tmp_path: Path, capsys: Captured) -> None:
    films = phantoms_of(finished_run)
    assert call_cli("evaluate", finished_run / "train", "--data", films, "--json", tmp_path / "e.json") == 0
    assert "szanet (torch) on " in capsys.readouterr().out
    found = json.loads((tmp_path / "e.json").read_text())
    reported = json.loads((finished_run / "report.json").read_text())["reference"]
    assert found == {**reported, "artifact": "szanet (torch)"}


def test_evaluate_states_the_rates_at_half_too(finished_run: Path, phantoms: Path, capsys: Captured) -> None:
    assert call_cli("evaluate", finished_run / "train", "--data", phantoms, "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)
    labels, logits, _ = scores(finished_run / "train", phantoms)
    assert np.abs(logits).min() > 1e-4  # no film so near to .5 that another order of sums would change its side
    called = logits >= 0
    assert found["n"] == len(labels) == found["confusion"]["tp"] + found["confusion"]["fn"] + (~labels).sum()
    rates = {
        "accuracy": (called == labels).mean(),
        "recall": called[labels].mean(),
        "specificity": (~called[~labels]).mean(),
        "balanced_accuracy": (called[labels].mean() + (~called[~labels]).mean()) / 2,
        "precision": labels[called].mean() if called.any() else None,
        "f1": 2 * (called & labels).sum() / (called.sum() + labels.sum()),
    }
    assert set(found["at_half"]) == set(rates)
    for name, rate in rates.items():
        assert found["at_half"][name] == (None if rate is None else pytest.approx(rate)), name


def test_evaluate_shows_both_thresholds_side_by_side(finished_run: Path, phantoms: Path, capsys: Captured) -> None:
    assert call_cli("evaluate", finished_run / "train", "--data", phantoms) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("metric")).split() == ["metric", "value", "95", "%", "interval", "at", ".5"]
    labels, logits, _ = scores(finished_run / "train", phantoms)
    shown = next(line for line in lines if line.startswith("specificity"))
    assert shown.endswith(f"{(logits[~labels] < 0).mean():.3f}")


def empty_folder(_train: Path, place: Path) -> Path:
    place.mkdir()
    return place


def other_weights(train: Path, place: Path) -> Path:
    shutil.copytree(train, place)
    with (place / "weights.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    return place


WRONG: dict[str, tuple[Callable[[Path, Path], Path], int, str]] = {
    "no folder": (lambda _train, place: place, 2, "No checkpoint in {}"),
    "an empty folder": (empty_folder, 2, "No checkpoint in {}"),
    "a bundle": (lambda train, _place: train.parent / "bundle", 2, "No checkpoint in {}"),
    "changed weights": (other_weights, 1, "{}/weights.safetensors is not the file that checkpoint.json names"),
}


@pytest.mark.parametrize("case", WRONG)
def test_explain_of_something_else_is_one_sentence(case: str, finished_run: Path, phantoms: Path, tmp_path: Path, capsys: Captured) -> None:
    make, code, words = WRONG[case]
    checkpoint = make(finished_run / "train", tmp_path / "given")
    assert call_cli("explain", checkpoint, "--data", phantoms, "--out", tmp_path / "out") == code
    error = capsys.readouterr().err
    assert words.format(checkpoint) in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_evaluate_of_changed_weights_is_refused(finished_run: Path, phantoms: Path, tmp_path: Path, capsys: Captured) -> None:
    assert call_cli("evaluate", other_weights(finished_run / "train", tmp_path / "given"), "--data", phantoms) == 1
    assert "is not the file that checkpoint.json names" in capsys.readouterr().err


def test_a_checkpoint_has_no_artifacts_to_choose(finished_run: Path, phantoms: Path, capsys: Captured) -> None:
    assert call_cli("evaluate", finished_run / "train", "--data", phantoms, "--artifact", "openvino-int8") == 2
    assert "is the folder of a checkpoint, which has no artifacts; leave out --artifact" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["explain", "evaluate"])
def test_missing_films_are_one_sentence(verb: str, finished_run: Path, tmp_path: Path, capsys: Captured) -> None:
    assert call_cli(verb, finished_run / "train", "--data", tmp_path / "none") == 2
    assert f"No data at {tmp_path / 'none'}; expected train/ and test/" in capsys.readouterr().err
    assert not (finished_run / "train" / "explain").exists()


@pytest.mark.parametrize("verb", ["explain", "evaluate"])
def test_films_are_not_left_out_in_silence(verb: str, finished_run: Path, capsys: Captured) -> None:
    assert call_cli(verb, finished_run / "train") == 2
    assert "Missing option '--data'" in capsys.readouterr().err


def test_explain_does_not_overwrite_the_checkpoint_itself(finished_run: Path, phantoms: Path, tmp_path: Path, capsys: Captured) -> None:
    checkpoint = Path(shutil.copytree(finished_run / "train", tmp_path / "train"))
    assert call_cli("explain", checkpoint, "--data", phantoms, "--out", checkpoint) == 2
    assert f"{checkpoint} exists already and is no earlier explanation" in capsys.readouterr().err
    load_checkpoint(checkpoint)
