"""Scores that a bundle was sealed with: read back by content, refused when they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import reseal
from tests.validate.test_drift import films, scores
from toolkit.core.bundle import Bundle
from toolkit.core.operating import OperatingPoint
from toolkit.data.cases import Case, Truth
from toolkit.errors import BundleError, DataError
from toolkit.validate.scores import Scores, copies, read_scores, write_scores


def known(bundle: Path) -> list[list[str]]:
    lines = (bundle / "reference_scores.csv").read_text().splitlines()[1:]
    return [line.split(",") for line in lines]


def film(digest: str, label: int, name: str = "renamed.jpeg") -> Case:
    return Case(name, "test", label, "p", "virus", digest)


def test_scores_come_back_by_content(finished_run: Path) -> None:
    bundle = finished_run / "bundle"
    digest, label, *found = known(bundle)[0]
    mixed = Truth((film(digest, int(label)), *films([0]).cases))
    sealed, kept, rows = read_scores(Bundle(bundle), mixed)
    assert sealed.reference.probability.tolist() == [float(found[0])]
    assert {name: values.tolist() for name, values in sealed.artifacts.items()} == dict(
        zip(Bundle(bundle).names, [[float(value)] for value in found[1:]], strict=True)
    )
    assert kept.cases == (mixed.cases[0],)
    assert kept.unusable == (("film0", "is not among the reference films"),)
    assert (rows, sealed.absent) == ([0], len(known(bundle)) - 1)


def test_written_scores_by_hand() -> None:
    text = write_scores(films([1, 0]), scores(0.75, 0.1234567894), [Scores("small", np.array([0.5, 0.25]), 0.5)])
    assert text == "sha256,label,score,small\ndigest0,1,0.750000000,0.500000\ndigest1,0,0.123456789,0.250000\n"
    assert scores(0.75, 0.1234567894).as_written().probability.tolist() == [0.75, 0.123456789]


def test_films_that_the_bundle_does_not_know_are_an_error(finished_run: Path) -> None:
    with pytest.raises(DataError, match="None of the 2 films is among"):
        read_scores(Bundle(finished_run / "bundle"), films([0, 1]))


def test_swapped_labels_are_an_error_that_names_the_films(finished_run: Path) -> None:
    digest, label, *_ = known(finished_run / "bundle")[0]
    with pytest.raises(DataError, match=r"1 of 1 films have another label than .* \(swapped\.jpeg\)"):
        read_scores(Bundle(finished_run / "bundle"), Truth((film(digest, 1 - int(label), "swapped.jpeg"),)))


def test_a_bundle_without_reference_says_what_to_do(bundle: Path) -> None:
    with pytest.raises(BundleError, match="judge it --against another bundle"):
        read_scores(Bundle(bundle), films([1]))


def test_changed_scores_are_refused(copy_of_run: Path) -> None:
    file = copy_of_run / "bundle" / "reference_scores.csv"
    file.write_text(file.read_text().replace(",1,0.", ",1,1."))
    with pytest.raises(BundleError, match=r"reference_scores\.csv was changed"):
        read_scores(Bundle(copy_of_run / "bundle"), films([1]))


@pytest.mark.parametrize("wrong", ["nan", "1.5", "-0.1", "", "much"])
def test_a_score_that_is_no_probability_is_refused(copy_of_run: Path, wrong: str) -> None:
    bundle = copy_of_run / "bundle"
    file = bundle / "reference_scores.csv"
    head, first, *rest = file.read_text().splitlines()
    cells = first.split(",")
    file.write_text("\n".join([head, ",".join([*cells[:2], wrong, *cells[3:]]), *rest]) + "\n")
    reseal(bundle)
    with pytest.raises(BundleError, match=rf"has no label and probabilities for {cells[0][:12]}"):
        read_scores(Bundle(bundle), films([1]))


def test_a_file_of_other_columns_is_refused(copy_of_run: Path) -> None:
    file = copy_of_run / "bundle" / "reference_scores.csv"
    file.write_text("film,truth\n")
    reseal(copy_of_run / "bundle")
    with pytest.raises(BundleError, match="begins with the columns film, truth; expected sha256, label, score"):
        read_scores(Bundle(copy_of_run / "bundle"), films([1]))


def test_copies_are_named_and_contradictions_refused() -> None:
    twice = Truth((film("a", 1, "first"), film("b", 0, "other"), film("a", 1, "again")))
    assert copies(twice) == {"again": "first"}
    with pytest.raises(DataError, match="first and liar are the same film under two labels"):
        copies(Truth((*twice.cases, film("a", 0, "liar"))))


def test_scores_of_logits_use_the_operating_point() -> None:
    made = Scores.of("a", np.array([0.0, 2.0], np.float32), OperatingPoint(threshold=0.7, temperature=2.0))
    assert made.probability == pytest.approx([0.5, 1 / (1 + np.exp(-1))])
    assert made.called.tolist() == [False, True]
