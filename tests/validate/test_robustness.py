"""Curves on corrupted films: areas by hand, a planted weakness, the file that a bundle carries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import reseal
from tests.validate.test_gate import only
from tests.validate.test_planted_faults import films_of
from toolkit.core.bundle import Bundle
from toolkit.core.codec import read_json
from toolkit.core.operating import OperatingPoint
from toolkit.core.recipe import ValidateSpec
from toolkit.core.reports import RunReport
from toolkit.data.cases import Case, Truth
from toolkit.errors import BundleError, DataError
from toolkit.imaging.corruptions import CORRUPTIONS
from toolkit.validate.gate import Question, judge_bundle
from toolkit.validate.robustness import PLACES, area_pt, choose, compare, corrupted_logits, read_corruptions, write_corruptions
from toolkit.validate.scores import Scores

ASKED = Question(ValidateSpec(max_recall_loss_pt=100), corruptions=True)


def case(number: int, label: int) -> Case:
    return Case(f"film{number}", "test", label, f"p{number}", "virus", f"{(number * 7919) % 1000:064d}")


FILMS = Truth(tuple(case(number, number % 2) for number in range(20)))


def test_areas_by_hand() -> None:
    same = [(0.9, 0.8)] * 6
    assert area_pt(same) == pytest.approx(0)  # worse from the start, and no faster
    falling = [(0.9, 0.9 - 0.02 * severity) for severity in range(6)]
    assert area_pt(falling) == pytest.approx(5)  # a triangle: ten points at the end
    last = [(0.9, 0.9)] * 5 + [(0.9, 0.8)]
    assert area_pt(last) == pytest.approx(1)  # half a step of ten points, of five steps
    assert area_pt([(0.9, 0.9), (None, 0.9)]) is None


def test_half_of_the_films_are_positive_and_the_same_ones_everywhere() -> None:
    rows = choose(FILMS, 8)
    assert sum(FILMS.cases[row].label for row in rows) == 4
    backwards = Truth(FILMS.cases[::-1])
    assert {backwards.cases[row] for row in choose(backwards, 8)} == {FILMS.cases[row] for row in rows}
    few = Truth((*FILMS.cases[:4], case(50, 0), case(52, 0)))
    assert sum(few.cases[row].label for row in choose(few, 5)) == 2
    assert choose(few, 100) == list(range(6))


def test_a_model_that_only_noise_confuses_has_an_area_there_alone() -> None:
    images = np.random.default_rng(0).integers(60, 190, (20, 1, 24, 24), np.uint8)
    labels = FILMS.labels
    truth = {image[0].mean().item(): label for image, label in zip(images, labels, strict=True)}
    assert len(truth) == 20

    def steady(batch: np.ndarray) -> np.ndarray:
        return (2.0 * labels - 1).astype(np.float32)

    def shy(batch: np.ndarray) -> np.ndarray:
        rough = np.abs(np.diff(batch.astype(float), axis=3)).mean(axis=(1, 2, 3)) - np.abs(np.diff(images.astype(float), axis=3)).mean(
            axis=(1, 2, 3)
        )
        return np.where(rough > 1.5, -1.0, 2.0 * labels - 1).astype(np.float32)

    logits = corrupted_logits(images, FILMS, {"steady": steady, "shy": shy})
    scores = {name: {place: Scores.of(name, found, OperatingPoint()) for place, found in places.items()} for name, places in logits.items()}
    found = {curve.corruption: curve for curve in compare(scores["steady"], {"shy": scores["shy"]}, FILMS).curves}
    assert set(found) == set(CORRUPTIONS)
    assert found["noise"].auc_area_pt is not None
    assert found["noise"].auc_area_pt > 10
    assert found["blur"].auc_area_pt == found["downscale"].auc_area_pt == 0
    assert [point.recall for point in found["noise"].points][::5] == [1.0, 0.0]


def test_the_file_comes_back_as_it_was_written() -> None:
    random = np.random.default_rng(0)
    written = {place: random.random(20) for place in PLACES}
    found = read_corruptions(write_corruptions(FILMS, written), "file")
    assert list(found) == [one.sha256 for one in FILMS.cases]
    for row, one in enumerate(FILMS.cases):
        assert found[one.sha256] == {place: pytest.approx(values[row], abs=5e-7) for place, values in written.items()}


def test_a_file_without_a_column_or_with_no_number_is_refused() -> None:
    text = write_corruptions(FILMS, {place: np.full(20, 0.5) for place in PLACES})
    with pytest.raises(BundleError, match="file lacks the columns noise-3"):
        read_corruptions(text.replace("noise-3", "fog-3"), "file")
    with pytest.raises(BundleError, match="has no label and probabilities for 000"):
        read_corruptions(text.replace("0.500000", "nan", 1), "file")


def test_a_bundle_repeats_the_curves_of_its_report(finished_run: Path) -> None:
    report = judge_bundle(Bundle(finished_run / "bundle"), films_of(finished_run), ASKED).robustness
    sealed = read_json(finished_run / "report.json", RunReport).drift.robustness
    assert report is not None
    assert sealed is not None
    assert (sealed.films, sealed.positives) == (12, 6)
    assert [curve.artifact for curve in report.curves] == [curve.artifact for curve in sealed.curves]
    for now, then in zip(report.curves, sealed.curves, strict=True):
        assert now.auc_area_pt == pytest.approx(then.auc_area_pt, abs=0.01)
        assert now.points[5].roc_auc == then.points[5].roc_auc


def test_against_itself_no_curve_falls_faster(finished_run: Path) -> None:
    folder = finished_run / "bundle"
    question = Question(ValidateSpec(max_recall_loss_pt=100, corruption_films=6), against=folder, corruptions=True)
    report = judge_bundle(Bundle(folder), films_of(finished_run), question).robustness
    assert report is not None
    assert report.films == 6
    best = Bundle(folder).manifest.recommended[0]
    assert {curve.auc_area_pt for curve in report.curves if curve.artifact == best} == {0.0}


def test_other_films_and_an_older_bundle_say_what_to_do(finished_run: Path, copy_of_run: Path) -> None:
    known = read_corruptions((finished_run / "bundle" / "reference_corruptions.csv").read_text(), "file")
    others = only(films_of(finished_run), lambda row: films_of(finished_run).of("test")[row].sha256 not in known)
    with pytest.raises(DataError, match="knows none of the films in their corrupted forms"):
        judge_bundle(Bundle(finished_run / "bundle"), others, ASKED)
    folder = copy_of_run / "bundle"
    manifest = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(manifest.replace("reference_corruptions.csv", "README.md"))
    reseal(folder)
    with pytest.raises(BundleError, match="carries no scores of corrupted films; judge it --against another bundle"):
        judge_bundle(Bundle(folder), films_of(copy_of_run), ASKED)
