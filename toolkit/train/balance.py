"""Weights that make both classes count alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def class_weights(labels: NDArray[np.integer]) -> tuple[float, float]:
    """(weight of class 0, weight of class 1) = films / (2 * films of the class); 1.94 and .67 on Kermany's train split."""
    counts = np.bincount(labels, minlength=2)
    negative, positive = (len(labels) / (2 * counts)).tolist()
    return negative, positive
