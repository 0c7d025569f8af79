"""Where an artifact that disagrees with torch begins to: layer by layer, on a few films."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit.core.target import Precision

Values = NDArray[np.float32]
FILMS = 8
LIMITS: dict[Precision, float] = {"fp32": 1e-3, "fp16w": 1e-2, "bf16": 5e-2, "fp16": 1e-2, "int8": 0.3, "int8ac": 0.3}


def first_departure(expected: Mapping[str, Values], found: Sequence[Values], limit: float) -> str:
    """A clause for an error message: the first of torch's layers beyond `limit`, or else the one that departs most.

    `expected`: what each convolution and linear layer gave, by name, in the order of the calls; `found` the same of the artifact. The
    error of a layer is the root mean square of the difference over that of the expected values.
    """
    if len(expected) != len(found):
        return f"it has {len(found)} convolutions and linear layers where torch has {len(expected)}"
    errors = {name: relative_error(values, other) for (name, values), other in zip(expected.items(), found, strict=True)}
    beyond = [name for name, error in errors.items() if not error <= limit]  # also when it is not a number
    name = beyond[0] if beyond else max(errors, key=lambda one: errors[one])
    place = list(errors).index(name)
    before = f", {list(errors.values())[place - 1]:.2g} one layer before" if place else ""
    which = "the first layer that departs" if beyond else "no layer departs on its own, most of all"
    return f"{which} is {name} (relative error {errors[name]:.2g}{before})"


def relative_error(expected: Values, found: Values) -> float:
    """Root mean square of the difference, over that of the expected values."""
    if expected.shape != found.shape:
        return float("inf")
    size = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(expected.astype(np.float64) - found)))) / max(size, 1e-12)
