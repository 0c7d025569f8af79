"""Class weights against the report's figures."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.train.balance import class_weights


def test_weights_of_the_kermany_train_split() -> None:
    labels = np.array([0] * 1341 + [1] * 3875)
    assert class_weights(labels) == pytest.approx((1.94, 0.67), abs=0.006)


def test_balanced_labels_weigh_one() -> None:
    assert class_weights(np.array([0, 1, 1, 0])) == (1.0, 1.0)
