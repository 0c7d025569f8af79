"""Does an artifact answer as the torch network that it was made from? Checked before it enters a bundle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toolkit.core.bundle import Parity
from toolkit.core.operating import OperatingPoint
from toolkit.core.recipe import ExportSpec
from toolkit.core.target import Precision
from toolkit.errors import ParityError
from toolkit.imaging.decode import Pixels

Logits = NDArray[np.float32]


def with_edge_cases(images: Pixels, seed: int) -> Pixels:
    """The films, and behind them a black, a white and a noise picture; uint8 `[N + 3, 1, H, W]`."""
    shape = images.shape[1:]
    noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return np.concatenate([images, np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), noise])])


def compare(expected: Logits, found: Logits, point: OperatingPoint) -> Parity:
    """Logit errors, relative where a logit is beyond 1 (`|found - expected| / max(1, |expected|)`), and changed calls."""
    error = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    threshold = point.logit_threshold()
    return Parity(
        films=len(expected),
        max_logit_error=float(error.max()),
        mean_logit_error=float(error.mean()),
        sign_flips=int(((expected >= threshold) != (found >= threshold)).sum()),
    )


def refuse_departure(name: str, precision: Precision, parity: Parity, spec: ExportSpec) -> None:
    """Raise ParityError with the figures when the artifact departs further than its precision may."""
    found, limit, what = {
        "fp32": (parity.max_logit_error, spec.max_logit_error_fp32, "largest"),
        "fp16w": (parity.max_logit_error, spec.max_logit_error_fp16w, "largest"),
        "int8": (parity.mean_logit_error, spec.mean_logit_error_int8, "mean"),
    }[precision]
    if not found <= limit:  # also when it is not a number
        raise ParityError(
            f"{name} disagrees with torch: {what} logit error {found:.3g} on {parity.films} films, limit {limit:g} "
            f"(mean {parity.mean_logit_error:.3g}, largest {parity.max_logit_error:.3g}, {parity.sign_flips} calls changed). "
            "Leave it out of export.artifacts, or calibrate otherwise (quantize.method, quantize.calibration_films)."
        )
