"""Runs on the device, with the base install and pytest: is every sealed bundle whole there, and does it answer?

pytest device_tests --bundle exported/szanet
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from toolkit.core.bundle import Artifact, Bundle
from toolkit.infer.predictor import choose_artifact, open_session
from toolkit.infer.runtimes import runtime


def pictures(bundle: Bundle) -> NDArray[np.uint8]:
    """Black, white, noise, a ramp; uint8 `[4, 1, size, size]`."""
    edge = bundle.manifest.preprocessing.size_px
    noise = np.random.default_rng(0).integers(0, 256, (edge, edge))
    ramp = np.linspace(0, 255, edge * edge).reshape(edge, edge)
    return np.stack([np.zeros((edge, edge)), np.full((edge, edge), 255), noise, ramp]).astype(np.uint8)[:, None]


def runnable(bundle: Bundle) -> list[Artifact]:
    return [artifact for artifact in bundle.manifest.artifacts if runtime(artifact.target.backend).is_available()]


def test_every_file_is_as_it_was_sealed(bundle: Bundle) -> None:
    bundle.verify()


def test_something_that_passed_its_gate_runs_here(bundle: Bundle) -> None:
    assert choose_artifact(bundle).passed


def test_answers_are_finite_and_equal_when_asked_again(bundle: Bundle) -> None:
    for artifact in runnable(bundle):
        session, films = open_session(bundle, artifact), pictures(bundle)
        first = session.logits(films)
        assert first.shape == (4,), artifact.name
        assert np.isfinite(first).all(), artifact.name
        assert np.array_equal(first, session.logits(films)), artifact.name


def test_one_by_one_and_in_a_batch_are_the_same_decision(bundle: Bundle) -> None:
    for artifact in runnable(bundle):
        session, films = open_session(bundle, artifact), pictures(bundle)
        together = artifact.operating.probability(session.logits(films)) >= artifact.operating.threshold
        alone = [artifact.operating.probability(session.logits(film[None]))[0] >= artifact.operating.threshold for film in films]
        assert together.tolist() == alone, artifact.name


def test_float_artifacts_agree_with_each_other(bundle: Bundle) -> None:
    floats = [artifact for artifact in runnable(bundle) if artifact.target.precision != "int8"]
    answers = [open_session(bundle, artifact).logits(pictures(bundle)) for artifact in floats]
    for found in answers[1:]:
        assert found == pytest.approx(answers[0], rel=2e-3, abs=2e-2)
