"""Drift: lost positives counted by hand, verdicts, reference scores by content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from toolkit.core.bundle import Bundle
from toolkit.core.codec import to_plain
from toolkit.core.operating import OperatingPoint
from toolkit.core.recipe import ValidateSpec
from toolkit.data.cases import Case
from toolkit.data.films import Films
from toolkit.errors import BundleError, DataError
from toolkit.validate import drift
from toolkit.validate.drift import Scores, compare


def films(labels: Sequence[int], group: str = "bacteria") -> Films:
    """Films without pictures: only labels and names matter here."""
    cases = tuple(Case(f"film{n}", "test", label, f"p{n}", group, f"digest{n}") for n, label in enumerate(labels))
    return Films(np.zeros((len(labels), 1, 2, 2), np.uint8), np.array(labels), cases)


def scores(*values: float, threshold: float = 0.5) -> Scores:
    return Scores("model", np.array(values), threshold)


LABELS = [1, 1, 1, 1, 0, 0]
REFERENCE = (0.9, 0.8, 0.7, 0.2, 0.6, 0.1)


def test_lost_and_gained_by_hand() -> None:
    row = compare(scores(*REFERENCE), scores(0.9, 0.4, 0.3, 0.6, 0.4, 0.1), films(LABELS), ValidateSpec(max_recall_loss_pt=25))
    assert (row.lost_positives, row.gained_positives) == (2, 1)
    assert (row.recall_reference, row.recall) == (0.75, 0.5)
    assert row.recall_loss_pt == pytest.approx(25)
    assert row.specificity_loss_pt == pytest.approx(-50)
    assert row.accuracy_loss_pt == pytest.approx(0)
    assert row.mcnemar_p == 1.0
    assert [flip.path for flip in row.flips] == ["film1", "film2", "film3", "film4"]
    assert row.verdict == "pass"
    assert row.subgroups["bacteria"] == {"positives": 4, "lost_positives": 2, "gained_positives": 1, "recall_loss_pt": 25.0}


def test_promised_keys() -> None:
    row = to_plain(compare(scores(*REFERENCE), scores(*REFERENCE), films(LABELS), ValidateSpec()))
    assert row.keys() >= {
        *("artifact", "recall", "recall_reference", "recall_loss_pt", "recall_loss_upper95_pt", "lost_positives"),
        *("gained_positives", "specificity_loss_pt", "accuracy_loss_pt", "roc_auc_loss", "mcnemar_p", "flips"),
        *("subgroups", "limit_pt", "mode", "verdict"),
    }
    report = to_plain(drift.summarise("dense", films(LABELS), (), synthetic=False))
    assert report.keys() >= {"reference", "n", "rows", "verdict"}


def test_one_lost_positive_of_390_passes_observed_and_fails_proven() -> None:
    labels, before = [1] * 390, np.full(390, 0.9)
    after = before.copy()
    after[7] = 0.1
    pair = Scores("dense", before, 0.5), Scores("small", after, 0.5), films(labels)
    assert compare(*pair, ValidateSpec(max_recall_loss_pt=1)).verdict == "pass"
    assert compare(*pair, ValidateSpec(max_recall_loss_pt=1, mode="proven")).verdict == "fail"


def test_each_model_is_judged_at_its_own_threshold() -> None:
    row = compare(scores(*REFERENCE), scores(*(value / 2 for value in REFERENCE), threshold=0.25), films(LABELS), ValidateSpec())
    assert (row.lost_positives, row.flips) == (0, ())


def test_a_moved_threshold_shows() -> None:
    row = compare(scores(*REFERENCE), scores(*REFERENCE, threshold=0.75), films(LABELS), ValidateSpec())
    assert (row.lost_positives, row.verdict) == (1, "fail")


def test_calling_every_film_positive_does_not_pass() -> None:
    labels = [0, 1] * 20
    good, blind = np.array(labels) * 0.8 + np.tile([0.05, 0.1, 0.15, 0.0], 10), np.full(40, 0.9)
    row = compare(Scores("dense", good, 0.5), Scores("all positive", blind, 0.5), films(labels), ValidateSpec())
    assert (row.lost_positives, row.verdict) == (0, "fail")
    assert "no longer tells the classes apart" in row.reason["verdict"]


def test_no_positive_film_is_an_error() -> None:
    with pytest.raises(DataError, match="There is no positive film"):
        compare(scores(0.1), scores(0.2), films([0]), ValidateSpec())


def test_reference_scores_come_back_by_content(finished_run: Path) -> None:
    bundle = Bundle(finished_run / "bundle")
    known = (finished_run / "bundle" / "reference_scores.csv").read_text().splitlines()[1:]
    digest, label, score = known[0].split(",")
    case = Case("renamed.jpeg", "test", int(label), "p", "virus", digest)
    mixed = Films(np.zeros((2, 1, 2, 2), np.uint8), np.array([int(label), 0]), (case, films([0]).cases[0]))
    found, kept = drift.read_reference(bundle, mixed)
    assert found.probability.tolist() == [float(score)]
    assert kept.cases == (case,)
    assert kept.unusable == (("film0", "is not among the reference films"),)


def test_films_that_the_bundle_does_not_know_are_an_error(finished_run: Path) -> None:
    with pytest.raises(DataError, match="None of the 2 films is among"):
        drift.read_reference(Bundle(finished_run / "bundle"), films([0, 1]))


def test_a_bundle_without_reference_says_what_to_do(bundle: Path) -> None:
    with pytest.raises(BundleError, match="judge it --against another bundle"):
        drift.read_reference(Bundle(bundle), films([1]))


def test_changed_reference_scores_are_refused(copy_of_run: Path) -> None:
    file = copy_of_run / "bundle" / "reference_scores.csv"
    file.write_text(file.read_text().replace(",1,0.", ",1,1."))
    with pytest.raises(BundleError, match=r"reference_scores\.csv was changed"):
        drift.read_reference(Bundle(copy_of_run / "bundle"), films([1]))


def test_scores_of_logits_use_the_operating_point() -> None:
    made = Scores.of("a", np.array([0.0, 2.0], np.float32), OperatingPoint(threshold=0.7, temperature=2.0))
    assert made.probability == pytest.approx([0.5, 1 / (1 + np.exp(-1))])
    assert made.called.tolist() == [False, True]
