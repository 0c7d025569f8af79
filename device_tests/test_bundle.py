"""Is every sealed bundle whole here, and does it answer?

Runs on the device, with the base install and pytest:

pytest device_tests --bundle exported/szanet --sustained-s 600
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from toolkit.core.bundle import Bundle
from toolkit.infer.machine import why_not
from toolkit.infer.predictor import choose_artifact
from toolkit.infer.runtimes import Session

Sessions = Callable[[Bundle, str], Session]


def pictures(bundle: Bundle) -> NDArray[np.uint8]:
    """Black, white, noise, a ramp; uint8 `[4, 1, size, size]`."""
    edge = bundle.manifest.preprocessing.size_px
    noise = np.random.default_rng(0).integers(0, 256, (edge, edge))
    ramp = np.linspace(0, 255, edge * edge).reshape(edge, edge)
    return np.stack([np.zeros((edge, edge)), np.full((edge, edge), 255), noise, ramp]).astype(np.uint8)[:, None]


def test_every_file_is_as_it_was_sealed(bundle: Bundle) -> None:
    bundle.verify()


def test_something_that_passed_its_gate_runs_here(bundle: Bundle) -> None:
    assert choose_artifact(bundle).passed


def test_answers_are_finite_and_equal_when_asked_again(bundle: Bundle, name: str, sessions: Sessions) -> None:
    session, films = sessions(bundle, name), pictures(bundle)
    first = session.logits(films)
    assert first.shape == (4,)
    assert np.isfinite(first).all()
    assert np.array_equal(first, session.logits(films))


def test_one_by_one_and_in_a_batch_are_the_same_decision(bundle: Bundle, name: str, sessions: Sessions) -> None:
    session, films = sessions(bundle, name), pictures(bundle)
    border = bundle.artifact(name).operating.logit_threshold()
    alone = np.concatenate([session.logits(film[None]) for film in films])
    assert (session.logits(films) >= border).tolist() == (alone >= border).tolist()


def test_float_artifacts_agree_with_each_other(bundle: Bundle, sessions: Sessions) -> None:
    artifacts = [artifact for artifact in bundle.manifest.artifacts if not artifact.target.is_int8 and why_not(artifact.target) is None]
    answers = {artifact.name: sessions(bundle, artifact.name).logits(pictures(bundle)) for artifact in artifacts}
    for found in answers.values():
        assert found == pytest.approx(next(iter(answers.values())), rel=2e-3, abs=2e-2)
