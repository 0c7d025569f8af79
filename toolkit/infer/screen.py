"""Is this picture a usable frontal chest film at all? Asked before a model sees it: a network knows no third answer.

Rules come first, for what needs no network: blank, black, white. Then the bundle's small graph, in the artifact's own runtime.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from toolkit.core.bundle import Bundle, ScreenEntry, ScreenLimits
from toolkit.core.preprocessing import Preprocessing
from toolkit.imaging.decode import Pixels
from toolkit.imaging.prepare import prepare_raw
from toolkit.infer.runtimes import Session, runtime

BLANK = "is blank: it has next to no contrast"
DARK, BRIGHT = "is too dark to be read: underexposed", "is too bright to be read: overexposed"
INVERTED = "looks inverted (bones dark on light): invert it and try again"
NO_FILM = "is not taken for a usable frontal chest film"
RUNTIMES = ("onnxruntime", "openvino")  # those that read ONNX; the others' bundles run it in the first
LEVELS = 256
CLIPPED_LEVELS = 5  # from either end
TAIL = 0.01


class Screen:
    """A bundle's screen, loaded."""

    def __init__(self, session: Session, entry: ScreenEntry) -> None:
        self._session, self._limits = session, entry.limits
        self._preprocessing = Preprocessing(size_px=entry.size_px)

    @classmethod
    def load(cls, bundle: Bundle, backend: str, cache: Path | None = None) -> Screen | None:
        """The bundle's screen in the runtime of the artifact that is in use, on one thread; None when the bundle has none. `cache` is as
        in `runtimes.Runtime.load`.

        Raises BundleError when its file was changed or the runtime refuses it, MissingDependencyError.
        """
        path, entry = bundle.verified_screen(), bundle.manifest.screen
        if path is None or entry is None:
            return None
        return cls(runtime(backend if backend in RUNTIMES else RUNTIMES[0]).load((path,), 1, None, cache), entry)

    def why_rejected(self, pixels: Pixels) -> str | None:
        """Why a prepared picture uint8 `[S, S]` is not to be judged, in words that follow its name; None for a usable film."""
        image = prepare_raw(pixels, self._preprocessing)  # [s, s]
        return why_by_rule(image, self._limits) or self._why_by_network(image)

    def _why_by_network(self, image: Pixels) -> str | None:
        usable, inverted = (float(output[0]) for output in self._session.outputs(image[None, None]))  # [1, 1, s, s]
        if inverted > self._limits.inverted_most:
            return INVERTED
        return None if usable >= self._limits.usable_least else NO_FILM


def why_by_rule(image: Pixels, limits: ScreenLimits) -> str | None:
    """The same from the grey levels alone, of a picture uint8 `[s, s]` as the graph takes it."""
    if image.std() < limits.contrast_least:
        return BLANK
    share = np.bincount(image.ravel(), minlength=256).cumsum() / image.size  # [256], of pixels at or below each level
    if share[CLIPPED_LEVELS] > limits.clipped_most or share[limits.bright_least] > 1 - TAIL:
        return DARK
    if 1 - share[LEVELS - 2 - CLIPPED_LEVELS] > limits.clipped_most or share[limits.dark_most] < TAIL:
        return BRIGHT
    return None
