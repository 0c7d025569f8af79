"""Drift: lost positives counted by hand, rates with intervals, verdicts by each limit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from tests.conftest import ROOT
from toolkit.core.codec import to_plain
from toolkit.core.drift import Check
from toolkit.core.recipe import ValidateSpec
from toolkit.data.cases import Case, Truth
from toolkit.errors import DataError, GateError
from toolkit.validate import drift
from toolkit.validate.drift import compare
from toolkit.validate.scores import Scores


def films(labels: Sequence[int], group: str = "bacteria") -> Truth:
    """Films without pictures: only labels and names matter here."""
    return Truth(tuple(Case(f"film{n}", "test", label, f"p{n}", group, f"digest{n}") for n, label in enumerate(labels)))


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
    assert [flip.change for flip in row.flips] == ["lost", "lost", "gained", "cleared"]
    assert row.verdict == "pass"


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


def test_rates_have_the_intervals_of_wilson_and_delong() -> None:
    row = compare(scores(*REFERENCE), scores(0.9, 0.4, 0.3, 0.6, 0.4, 0.1), films(LABELS), ValidateSpec(max_recall_loss_pt=25))
    recall = row.rates["recall"]
    assert (recall.reference, recall.artifact) == (0.75, 0.5)
    # Wilson by hand, 2 of 4: centre (2 + z^2/2) / (4 + z^2), half-width z / (4 + z^2) * sqrt(2 * 2 / 4 + z^2 / 4), z = 1.959964
    centre, half = (2 + 1.920729) / 7.841459, 1.959964 / 7.841459 * np.sqrt(1 + 0.960365)
    assert recall.ci95 == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert row.rates["accuracy"].artifact == pytest.approx(4 / 6)
    # AUC by hand: positives .9 .8 .7 .2 against .6 .1: 7 of 8 pairs in order; after: .9 .4 .3 .6 against .4 .1: 6.5 of 8.
    assert (row.rates["roc_auc"].reference, row.rates["roc_auc"].artifact) == (7 / 8, 6.5 / 8)
    assert row.roc_auc_loss == pytest.approx(1 / 16)


def test_shift_and_calibration_error_by_hand() -> None:
    row = compare(scores(0.95, 0.05), scores(0.85, 0.15), films([1, 0]), ValidateSpec())
    assert row.shift is not None
    assert (row.shift.mean, row.shift.largest) == (pytest.approx(0.1), pytest.approx(0.1))
    assert row.shift.calibration_error_reference == pytest.approx(0.05)
    assert row.shift.calibration_error == pytest.approx(0.15)


def test_the_same_scores_at_the_references_threshold() -> None:
    row = compare(scores(*REFERENCE), scores(*REFERENCE, threshold=0.75), films(LABELS), ValidateSpec())
    assert row.lost_positives == 1
    assert row.at_reference_threshold is not None
    assert (row.at_reference_threshold.lost_positives, row.at_reference_threshold.threshold) == (0, 0.5)
    assert row.at_reference_threshold.recall == 0.75


def test_a_loss_that_chance_does_not_explain_has_a_small_p() -> None:
    before, after = np.full(400, 0.9), np.full(400, 0.9)
    after[:6] = 0.1
    row = compare(Scores("dense", before, 0.5), Scores("small", after, 0.5), films([1] * 400), ValidateSpec(max_recall_loss_pt=2))
    assert row.loss_p == pytest.approx(0.5**7)  # six heads of six, the seen one counted half
    assert row.verdict == "pass"


def test_a_limit_of_specificity_is_one_more_check() -> None:
    after = scores(0.9, 0.8, 0.7, 0.2, 0.6, 0.55)
    free = compare(scores(*REFERENCE), after, films(LABELS), ValidateSpec())
    held = compare(scores(*REFERENCE), after, films(LABELS), ValidateSpec(max_specificity_loss_pt=10))
    assert free.verdict == "pass"
    assert (held.verdict, held.reason["verdict"]) == ("fail", "it loses 50.00 points of specificity, and the limit is 10")
    assert [check.name for check in held.checks] == ["recall", "specificity", "classes", "subgroups"]


def test_each_failed_check_is_said() -> None:
    row = compare(scores(*REFERENCE), scores(0.4, 0.4, 0.4, 0.4, 0.6, 0.1), films(LABELS), ValidateSpec())
    assert row.reason["verdict"].startswith("it loses 3 and gains 0 of 4 pneumonias, 75.00 points, and the limit is 1")
    more = drift.with_checks(row, [Check(name="sealed", value=1.0, limit=0.1, verdict="fail", reason="it moved")])
    assert more.reason["verdict"].endswith("; it moved")


def test_without_negatives_recall_is_judged_and_the_rest_is_null() -> None:
    row = compare(scores(0.9, 0.8), scores(0.9, 0.8), films([1, 1]), ValidateSpec())
    assert (row.verdict, row.specificity_loss_pt, row.roc_auc_loss) == ("pass", None, None)
    assert row.reason["specificity"] == "there is no negative film"


def test_one_film_proves_nothing() -> None:
    pair = scores(0.9), scores(0.9), films([1])
    assert compare(*pair, ValidateSpec()).verdict == "pass"
    proven = compare(*pair, ValidateSpec(mode="proven"))
    assert proven.verdict == "fail"
    assert proven.recall_loss_upper95_pt == pytest.approx(95)


def test_a_score_that_is_no_number_names_the_film() -> None:
    with pytest.raises(GateError, match=r"model gives no number for 1 of 2 films \(film1\)"):
        compare(scores(0.9, 0.8), scores(0.9, np.nan), films([1, 1]), ValidateSpec())


def test_scores_of_other_films_are_refused() -> None:
    with pytest.raises(DataError, match="model has 1 scores for 2 films"):
        compare(scores(0.9), scores(0.9, 0.8), films([1, 1]), ValidateSpec())


def test_what_the_limits_allow_at_390_positives() -> None:
    report = drift.summarise("dense", films([1] * 390 + [0] * 234), (), synthetic=False, limit_pt=3)
    found = {one.limit_pt: one for one in report.allowed}
    assert list(found) == [0.5, 1.0, 2.0, 3]
    assert [one.lost_observed for one in report.allowed] == [1, 3, 7, 11]
    # Nothing lost of n proves a share when (1 - share)^n <= .05: n >= ln .05 / ln .99 = 298.07.
    assert (found[1.0].positives_needed, found[1.0].films_needed, found[1.0].lost_proven) == (299, 479, 0)
    assert found[0.5].lost_proven is None


FIFTY_THOUSAND = """
from pathlib import Path
import numpy as np
from tests.validate.test_drift import films
from toolkit.core.codec import encode_json
from toolkit.core.recipe import ValidateSpec
from toolkit.validate import drift
from toolkit.validate.scores import Scores

random = np.random.default_rng(0)
labels = (random.random(50_000) < 0.6).astype(int)
before = 0.3 * labels + random.random(50_000) * 0.7
truth = films(labels.tolist())
rows = tuple(drift.compare(Scores("dense", before, 0.5), Scores(f"a{n}", before**1.01, 0.5), truth, ValidateSpec()) for n in range(6))
encode_json(drift.summarise("dense", truth, rows, synthetic=True))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(status["VmHWM"].split()[0])  # the most resident, kB; rusage's figure starts at that of the parent
"""


def test_scores_of_fifty_thousand_films_take_less_than_a_gigabyte() -> None:
    done = subprocess.run([sys.executable, "-c", FIFTY_THOUSAND], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout) < 1_000_000  # kB, with all that is imported
