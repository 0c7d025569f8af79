"""Does an artifact answer as the torch network that it was made from? Checked before it enters a bundle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from toolkit.core.bundle import Parity
from toolkit.core.operating import OperatingPoint
from toolkit.core.recipe import ExportSpec
from toolkit.core.target import Precision
from toolkit.errors import ParityError
from toolkit.imaging.decode import Pixels

Logits = NDArray[np.float32]
EDGE_CASES = 3


def with_edge_cases(images: Pixels, seed: int) -> Pixels:
    """The films, and behind them a black, a white and a noise picture; uint8 `[N + 3, 1, H, W]`."""
    shape = images.shape[1:]
    noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return np.concatenate([images, np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), noise])])


def parity_rows(films: int, most: int) -> NDArray[np.int64]:
    """Which of `films` films with the edge cases behind them parity looks at: the first `most`, and the edge cases."""
    return np.concatenate([np.arange(min(films, most)), np.arange(films, films + EDGE_CASES)])


def relative_errors(expected: Logits, found: Logits) -> NDArray[np.float64]:
    """`[N]`, relative where a logit is beyond 1: `|found - expected| / max(1, |expected|)`."""
    return np.abs(found.astype(np.float64) - expected) / np.maximum(1, np.abs(expected))


def compare(expected: Logits, found: Logits, point: OperatingPoint) -> Parity:
    """Logit errors and changed calls."""
    error = relative_errors(expected, found)
    threshold = point.logit_threshold()
    return Parity(
        films=len(expected),
        max_logit_error=float(error.max()),
        mean_logit_error=float(error.mean()),
        sign_flips=int(((expected >= threshold) != (found >= threshold)).sum()),
    )


def refuse_departure(name: str, precision: Precision, parity: Parity, spec: ExportSpec, where: Callable[[], str]) -> None:
    """Raise ParityError with the figures when the artifact departs further than its precision may; `where` then tells from which layer
    on (`departure.first_departure`)."""
    found, limit, what = {
        "fp32": (parity.max_logit_error, spec.max_logit_error_fp32, "largest"),
        "fp16w": (parity.max_logit_error, spec.max_logit_error_fp16w, "largest"),
        "fp16": (parity.mean_logit_error, spec.mean_logit_error_fp16, "mean"),
        "bf16": (parity.mean_logit_error, spec.mean_logit_error_bf16, "mean"),
        "int8": (parity.mean_logit_error, spec.mean_logit_error_int8, "mean"),
        "int8ac": (parity.mean_logit_error, spec.mean_logit_error_int8, "mean"),
    }[precision]
    if not found <= limit:  # also when it is not a number
        raise ParityError(
            f"{name} disagrees with torch: {what} logit error {found:.3g} on {parity.films} films, limit {limit:g} "
            f"(mean {parity.mean_logit_error:.3g}, largest {parity.max_logit_error:.3g}, {parity.sign_flips} calls changed); {where()}. "
            "Leave it out of export.artifacts, or calibrate otherwise (quantize.method, quantize.calibration_films)."
        )
