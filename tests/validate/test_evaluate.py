"""Metrics of an artifact: hand-worked, and the promised keys."""

from __future__ import annotations

import numpy as np
import pytest

from tests.validate.test_drift import films
from toolkit.core.codec import to_plain
from toolkit.core.evaluation import OutsideBand
from toolkit.core.metrics import Confusion
from toolkit.core.operating import Band, OperatingPoint
from toolkit.validate.evaluate import judge

PROMISED = {
    "artifact",
    "n",
    "threshold",
    "accuracy",
    "recall",
    "specificity",
    "precision",
    "f1",
    "balanced_accuracy",
    "roc_auc",
    "confusion",
    "ci95",
}


def test_promised_keys_and_values_by_hand() -> None:
    found = to_plain(judge("a", films([1, 1, 1, 0, 0]), np.array([2, 2, -1, 1, -2], np.float32), OperatingPoint(), synthetic=False))
    assert found.keys() >= PROMISED
    assert found["confusion"] == {"tp": 2, "fp": 1, "tn": 1, "fn": 1}
    assert found["ci95"].keys() == {"accuracy", "recall", "specificity", "roc_auc"}
    assert (found["accuracy"], found["recall"], found["specificity"]) == pytest.approx((3 / 5, 2 / 3, 1 / 2))
    assert (found["precision"], found["f1"], found["balanced_accuracy"]) == pytest.approx((2 / 3, 2 / 3, 7 / 12))
    assert found["roc_auc"] == pytest.approx(5 / 6)


def test_one_class_gives_nulls_with_reasons() -> None:
    found = judge("a", films([1, 1]), np.array([1, -1], np.float32), OperatingPoint(), synthetic=False)
    assert (found.specificity, found.roc_auc, found.ci95["specificity"]) == (None, None, None)
    assert found.reason["specificity"] == "there is no negative film"
    assert found.reason["roc_auc"] == "all films are of one class"


def test_temperature_moves_the_call_with_the_probability() -> None:
    point = OperatingPoint(threshold=0.6, temperature=4.0)  # sigmoid(1 / 4) = .562 stays below .6
    assert judge("a", films([1, 0]), np.array([1, -1], np.float32), point, synthetic=False).confusion.tp == 0


def test_a_model_at_chance_is_recognised() -> None:
    labels = [0, 1] * 20
    useless = judge("a", films(labels), np.zeros(40, np.float32), OperatingPoint(), synthetic=False)
    useful = judge(
        "a",
        films(labels),
        np.array(labels, np.float32) + np.tile([0, 0.9, 0.9, 0], 10).astype(np.float32),
        OperatingPoint(),
        synthetic=False,
    )
    assert not useless.tells_apart
    assert useful.tells_apart


def test_what_a_band_does_is_counted_by_hand() -> None:
    band = Band(low=0.3, high=0.7, missed=0, false_alarms=0, unsure=0, films=9)
    probabilities = np.array([0.9, 0.69, 0.3, 0.2, 0.7, 0.5, 0.4, 0.1])  # of four pneumonias and four normals
    logits = np.log(probabilities / (1 - probabilities)).astype(np.float64)
    found = judge("a", films([1, 1, 1, 1, 0, 0, 0, 0]), logits, OperatingPoint(threshold=0.5, band=band), synthetic=False)
    assert found.outside_band == OutsideBand(unsure=4, wrong_unsure=2, missed=1, false_alarms=1)  # unsure: .69, .3 (missed), .5 (alarm), .4
    assert found.confusion == Confusion(tp=2, fp=2, tn=2, fn=2)


def test_without_a_band_nothing_is_said_of_one() -> None:
    assert judge("a", films([1, 0]), np.array([1, -1], np.float32), OperatingPoint(), synthetic=False).outside_band is None
