"""From picture files to decisions, one file after another."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.reports import Prediction
from toolkit.errors import GateError, ImageError
from toolkit.imaging.decode import SUFFIXES, Pixels
from toolkit.imaging.prepare import prepare_file
from toolkit.infer.machine import family, why_not
from toolkit.infer.runtimes import Session, runtime

REJECTED = "REJECTED"


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
        self.session = open_session(bundle, self.artifact, threads)

    def predict(self, paths: Iterable[Path]) -> Iterator[Prediction]:
        """One Prediction a file, in order; a file that cannot be used is REJECTED with its error, and the rest goes on."""
        for path in paths:
            started = time.perf_counter()
            try:
                pixels = prepare_file(path, self.preprocessing)
            except ImageError as cause:
                yield self._prediction(path, started, error=str(cause))
            else:
                yield self._prediction(path, started, probability=self._probability(pixels))

    def _probability(self, pixels: Pixels) -> float:
        logit = self.session.logits(pixels[None, None])
        return float(self.artifact.operating.probability(logit)[0])

    def _prediction(self, path: Path, started: float, probability: float | None = None, error: str | None = None) -> Prediction:
        threshold = self.artifact.operating.threshold
        label = None if probability is None else self.labels.names[probability >= threshold]
        return Prediction(
            path=str(path),
            label=label,
            probability=probability,
            threshold=threshold,
            decision=label or REJECTED,
            artifact=self.artifact.name,
            ms=(time.perf_counter() - started) * 1000,
            error=error,
        )


def pictures_below(path: Path) -> Iterator[Path]:
    """All pictures below a folder in the order of their names; else the path itself, whatever it is."""
    pictures = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES and file.is_file())
    first = next(pictures, path)
    yield first
    yield from pictures
