"""From picture files to decisions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.files import sha256_of_bytes
from toolkit.core.prediction import Prediction
from toolkit.errors import GateError, ImageError
from toolkit.imaging.decode import Pixels, read_file
from toolkit.imaging.prepare import prepare_raw
from toolkit.infer.files import pictures_below as pictures_below  # noqa: PLC0414  (others import it from here)
from toolkit.infer.heat import occlusion
from toolkit.infer.machine import family, why_not
from toolkit.infer.runtimes import Session, runtime
from toolkit.infer.screen import Screen
from toolkit.infer.stream import Prepared, ahead, attempt

REJECTED, UNCERTAIN = "REJECTED", "UNCERTAIN"
Heat = NDArray[np.float32]


class Film(NamedTuple):
    """Pixels uint8 `[S, S]`, and the digest of the file's bytes where it was asked for."""

    pixels: Pixels
    sha256: str | None = None


class Judged(NamedTuple):
    """A prediction of a file; the film, where the file could be read; its heat map float32 `[h, w]`, where one was asked for."""

    path: Path
    prediction: Prediction
    film: Film | None = None
    heat: Heat | None = None


class Wanted(NamedTuple):
    """What is asked for beside the decision."""

    heat: bool = False
    sha256: bool = False


NOTHING_ELSE = Wanted()


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


def open_session(bundle: Bundle, artifact: Artifact, threads: int | None = None, cache: Path | None = None) -> Session:
    """Verify the artifact's digests, then load it; raises BundleError, MissingDependencyError."""
    bundle.verify(artifact)
    return runtime(artifact.target.backend).load(bundle.paths(artifact), threads, artifact.target, cache)


class Predictor:
    """A bundle's artifact, ready to judge films. `cache`: where the runtime may keep the compiled model (`infer.cache`)."""

    def __init__(self, bundle: Bundle, artifact_name: str | None = None, threads: int | None = None, cache: Path | None = None) -> None:
        self.artifact = choose_artifact(bundle, artifact_name)
        self.labels = bundle.manifest.labels
        self.preprocessing = bundle.manifest.preprocessing
        self.bundle_sha256 = bundle.sha256
        self.session = open_session(bundle, self.artifact, threads, cache)
        self.screen = Screen.load(bundle, self.artifact.target.backend, cache)

    def predict(self, paths: Iterable[Path], workers: int = 1) -> Iterator[Prediction]:
        """One Prediction a file, in order; a file that cannot be used is REJECTED with its error, and the rest goes on."""
        return (judged.prediction for judged in self.judge(paths, workers))

    def judge(self, paths: Iterable[Path], workers: int | None = 1, wanted: Wanted = NOTHING_ELSE) -> Iterator[Judged]:
        """The same with the films, and what else is wanted. `workers` threads work side by side, None for one a core; each film is judged
        by itself, so that answers do not depend on how many there are."""

        def judged(path: Path) -> Judged:
            return self.decide(str(path), attempt(lambda path: self.prepare(read_file(path), wanted), path), wanted)

        return ahead(paths, judged, workers)

    def judge_bytes(self, raw: bytes, name: str, wanted: Wanted = NOTHING_ELSE) -> Judged:
        """The same of one picture file's bytes."""
        return self.decide(name, attempt(lambda content: self.prepare(content, wanted), raw), wanted)

    def prepare(self, raw: bytes, wanted: Wanted = NOTHING_ELSE) -> Film:
        """A picture file's bytes, ready for the network; raises ImageError."""
        return Film(prepare_raw(raw, self.preprocessing), sha256_of_bytes(raw) if wanted.sha256 else None)

    def decide(self, name: str, prepared_film: Prepared[Film], wanted: Wanted = NOTHING_ELSE) -> Judged:
        """What is said of a film, or of a file that could not be read."""
        film, ms = prepared_film
        if isinstance(film, ImageError):
            return Judged(Path(name), self._prediction(name, ms, error=str(film)))
        started = time.perf_counter()
        refused = self.screen.why_rejected(film.pixels) if self.screen else None
        if refused is not None:
            ms += (time.perf_counter() - started) * 1000
            return Judged(Path(name), self._prediction(name, ms, error=refused), film)
        logit, heat = self._answer(film.pixels, wanted.heat)
        probability = self.artifact.operating.probability_of(float(logit[0]))
        ms += (time.perf_counter() - started) * 1000
        return Judged(Path(name), self._prediction(name, ms, probability=probability), film, heat)

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
            path=as_text(name),
            label=label,
            probability=probability,
            threshold=point.threshold,
            decision=decision or REJECTED,
            artifact=self.artifact.name,
            ms=ms,
            error=error,
            bundle_sha256=self.bundle_sha256,
        )


def as_text(name: str) -> str:
    """A file's name as a record states it: what is no text in UTF-8 is no JSON either, and is escaped."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
