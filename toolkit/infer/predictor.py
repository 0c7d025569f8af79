"""From picture files to decisions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.reports import Prediction
from toolkit.errors import GateError, ImageError
from toolkit.imaging.decode import SUFFIXES, Pixels
from toolkit.imaging.prepare import prepare_file, prepare_raw
from toolkit.infer.heat import occlusion
from toolkit.infer.machine import family, why_not
from toolkit.infer.runtimes import Session, runtime
from toolkit.infer.stream import Prepared, prepared

REJECTED, UNCERTAIN = "REJECTED", "UNCERTAIN"
Heat = NDArray[np.float32]


class Judged(NamedTuple):
    """A prediction; of a film that was judged also its pixels uint8 `[S, S]`, and its heat map float32 `[h, w]` where one was asked for."""

    prediction: Prediction
    pixels: Pixels | None = None
    heat: Heat | None = None


def choose_artifact(bundle: Bundle, name: str | None = None) -> Artifact:
    """The named artifact, or the fastest for this processor that passed its gate and can run here.

    Raises InputError for an unknown name, GateError when none passed or none can run here.
    """
    if name is not None:
        return bundle.artifact(name)
    reasons = {}
    for artifact in bundle.candidates(family()):
        reason = why_not(artifact.target)
        if reason is None:
            return artifact
        reasons[artifact.name] = reason
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise GateError(f"No artifact of {bundle.folder} that passed its gate can run here. {listed}.")


def open_session(bundle: Bundle, artifact: Artifact, threads: int | None = None) -> Session:
    """Verify the artifact's digests, then load it; raises BundleError, MissingDependencyError."""
    bundle.verify(artifact)
    return runtime(artifact.target.backend).load(bundle.paths(artifact), threads, artifact.target)


class Predictor:
    """A bundle's artifact, ready to judge films."""

    def __init__(self, bundle: Bundle, artifact_name: str | None = None, threads: int | None = None) -> None:
        self.artifact = choose_artifact(bundle, artifact_name)
        self.labels = bundle.manifest.labels
        self.preprocessing = bundle.manifest.preprocessing
        self.bundle_sha256 = bundle.sha256
        self.session = open_session(bundle, self.artifact, threads)

    def predict(self, paths: Iterable[Path], workers: int = 1) -> Iterator[Prediction]:
        """One Prediction a file, in order; a file that cannot be used is REJECTED with its error, and the rest goes on."""
        return (judged.prediction for judged in self.judge(paths, workers))

    def judge(self, paths: Iterable[Path], workers: int | None = 1, *, heat: bool = False) -> Iterator[Judged]:
        """The same with pixels, and heat maps where asked for. `workers` threads decode ahead, None for one a core; each film is then
        judged by itself, so that answers do not depend on how many there are."""
        for path, found in prepared(paths, self._prepare, workers):
            yield self._judged(str(path), found, heat)

    def judge_bytes(self, raw: bytes, name: str, *, heat: bool = False) -> Judged:
        """The same of one picture file's bytes. Safe to be called from several threads, as far as the runtime is."""
        ((_, found),) = prepared([raw], lambda content: prepare_raw(content, self.preprocessing), 1)
        return self._judged(name, found, heat)

    def _prepare(self, path: Path) -> Pixels:
        return prepare_file(path, self.preprocessing)

    def _judged(self, name: str, found: Prepared, heat: bool) -> Judged:
        if isinstance(found.pixels, ImageError):
            return Judged(self._prediction(name, found.ms, error=str(found.pixels)))
        started = time.perf_counter()
        logit, shown = self._answer(found.pixels, heat)
        probability = float(self.artifact.operating.probability(logit)[0])
        ms = found.ms + (time.perf_counter() - started) * 1000
        return Judged(self._prediction(name, ms, probability=probability), found.pixels, shown)

    def _answer(self, pixels: Pixels, heat: bool) -> tuple[NDArray[np.float32], Heat | None]:
        """The logit `[1]`, and a heat map: the graph's own, or by occlusion where it has none."""
        image = pixels[None, None]  # [1, 1, S, S]
        if not heat:
            return self.session.logits(image), None
        logit, *maps = self.session.outputs(image)
        return logit, maps[0][0] if maps else occlusion(self.session, pixels)

    def _prediction(self, name: str, ms: float, probability: float | None = None, error: str | None = None) -> Prediction:
        point = self.artifact.operating
        label = decision = None
        if probability is not None:
            label = self.labels.names[probability >= point.threshold]
            decision = UNCERTAIN if point.is_uncertain(probability) else label
        return Prediction(
            path=name,
            label=label,
            probability=probability,
            threshold=point.threshold,
            decision=decision or REJECTED,
            artifact=self.artifact.name,
            ms=ms,
            error=error,
            bundle_sha256=self.bundle_sha256,
        )


def pictures_below(path: Path) -> Iterator[Path]:
    """All pictures below a folder in the order of their names; else the path itself, whatever it is."""
    pictures = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES and file.is_file())
    first = next(pictures, path)
    yield first
    yield from pictures
