"""Synthetic films: equal from equal specs, in the Kermany layout, marked, and not told apart by brightness alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from toolkit.core.files import sha256_of
from toolkit.core.recipe import PhantomSpec
from toolkit.data.phantom import draw_film, write_phantoms
from toolkit.data.sources import read_source

SPEC = {"train_patients": 8, "test_patients": 5, "size_px": 64}


def digests(folder: Path, seed: int) -> dict[str, str]:
    """Draw a set; the digest of each of its files."""
    write_phantoms(PhantomSpec(**SPEC, seed=seed), folder)
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def test_equal_specs_give_equal_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    first, again, other = (digests(tmp_path / name, seed) for name, seed in (("a", 7), ("b", 7), ("c", 8)))
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_patients_of_each_kind_follow_the_prevalence(phantoms: Path) -> None:
    source = read_source(phantoms)  # 40 and 16 patients, 60 % of them sick, a third of these by virus
    counts = {
        split: {group: len({case.patient for case in source.of(split) if case.group == group}) for group in ("IM", "bacteria", "virus")}
        for split in ("train", "test")
    }
    assert counts == {"train": {"IM": 16, "bacteria": 16, "virus": 8}, "test": {"IM": 6, "bacteria": 7, "virus": 3}}
    assert {case.group: case.label for case in source.cases} == {"IM": 0, "bacteria": 1, "virus": 1}


def test_no_patient_is_on_both_sides_and_some_have_two_films(phantoms: Path) -> None:
    source = read_source(phantoms)
    train, test = ({case.patient for case in source.of(split)} for split in ("train", "test"))
    assert not train & test
    assert 56 < len(source.cases) < 2 * 56
    assert len({case.sha256 for case in source.cases}) == len(source.cases)


def test_films_are_grey_squares_of_the_size(phantoms: Path) -> None:
    for case in read_source(phantoms).cases:
        with Image.open(phantoms / case.name) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "L", (64, 64))
            assert np.asarray(picture).std() > 20


def test_a_set_is_marked_with_its_spec(phantoms: Path) -> None:
    mark = json.loads((phantoms / "phantom.json").read_text())
    assert mark == {"train_patients": 40, "test_patients": 16, "prevalence": 0.6, "size_px": 64, "seed": 11}
    assert read_source(phantoms).synthetic


def test_two_films_of_a_patient_differ() -> None:
    first, second = (np.asarray(draw_film("normal", 64, (1, 2), film)) for film in (0, 1))
    assert np.abs(first.astype(float) - second).mean() > 5


@pytest.mark.parametrize("seed", [0, 1])
def test_brightness_alone_does_not_tell_the_classes_apart(seed: int) -> None:
    kinds = ["normal"] * 75 + ["bacteria"] * 50 + ["virus"] * 25
    films = np.array([np.asarray(draw_film(kind, 64, (seed, number))) for number, kind in enumerate(kinds)], np.float64)
    sick = np.array([kind != "normal" for kind in kinds])
    features = np.stack([films.mean((1, 2)), films.std((1, 2))], axis=1)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, sick)
    assert roc_auc_score(sick, model.predict_proba(features)[:, 1]) < 0.75  # even on the films that it was fitted to


def test_sick_lungs_are_denser_on_average() -> None:
    def lungs(kind: str) -> float:
        films = [np.asarray(draw_film(kind, 64, (3, number)), np.float64) for number in range(80)]
        return float(np.mean([film[19:42, 10:54].mean() - film.mean() for film in films]))

    assert min(lungs("bacteria"), lungs("virus")) > lungs("normal") + 1
