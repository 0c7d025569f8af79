"""Golden films get golden scores: files, preparation, logits, decisions. `record.py` says how they were recorded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from device_tests.device import Device
from device_tests.record import FILMS, Golden, Moved, called, digest, drawn_digests, film_files, limit, logits_of, moved, name_of, prepared
from toolkit.core.bundle import Bundle
from toolkit.core.files import sha256_of
from toolkit.infer.runtimes import Session

BATCH = 6
Sessions = Callable[[Bundle, str], Session]
Difference = Callable[[Bundle, str, Golden], Moved]


@pytest.fixture(scope="session")
def difference(sessions: Sessions) -> Difference:
    """Tells how far an artifact's answers lie from the golden ones; each is asked once."""
    known: dict[tuple[str, str], Moved] = {}

    def ask(bundle: Bundle, name: str, golden: Golden) -> Moved:
        if name not in golden.artifacts:
            pytest.skip(f"{name}: it did not run where the golden scores were recorded")
        if (key := (bundle.sha256, name)) not in known:
            films = prepared(bundle.manifest.preprocessing)
            known[key] = moved(bundle, name, golden, logits_of(sessions(bundle, name), [*films.values()]))
        return known[key]

    return ask


def test_the_golden_films_are_the_recorded_files(golden: Golden) -> None:
    assert {name_of(path) for path in film_files()} == {film.name for film in golden.films}
    assert {film.name: sha256_of(FILMS / film.name) for film in golden.films} == {film.name: film.sha256 for film in golden.films}


def test_preparation_gives_the_recorded_pixels(bundle: Bundle, golden: Golden) -> None:
    assert drawn_digests(bundle.manifest.preprocessing) == golden.drawn


def test_decoding_gives_readable_films(bundle: Bundle, golden: Golden, device: Device) -> None:
    """Another JPEG library may differ in a pixel's last bit, which the limits of the scores allow for: it is noted."""
    found = prepared(bundle.manifest.preprocessing)
    other = [film.name for film in golden.films if digest(found[film.name]) != film.pixels_sha256]
    assert all(pixels.std() > 0 for pixels in found.values())
    text = f"{len(found) - len(other)} of {len(found)} films are decoded to exactly the recorded pixels"
    device.note(f"{called(bundle)}, decoding", f"{text}; others: {', '.join(other)}" if other else text, decoded_otherwise=other)


def test_golden_scores(bundle: Bundle, name: str, golden: Golden, device: Device, difference: Difference) -> None:
    found, allowed = difference(bundle, name, golden), limit(golden, name)
    text = f"logits moved by {found.mean:.6f} on average and {found.largest:.6f} at most, {allowed.mean} and {allowed.largest} are allowed"
    about = {"mean": found.mean, "largest": found.largest, "turned": found.turned, "films": len(golden.films)}
    device.note(f"{called(bundle)}, {name}", f"{text}; {len(found.turned)} of {len(golden.films)} decisions turned", **about)
    assert np.isfinite(found.mean)
    assert found.mean <= allowed.mean, f"{text}; most in {found.worst}"
    assert found.largest <= allowed.largest, f"{text}; most in {found.worst}"


def test_golden_decisions(bundle: Bundle, name: str, golden: Golden, device: Device, difference: Difference) -> None:
    turned, allowed = difference(bundle, name, golden).turned, device.option("max-turned")
    assert len(turned) <= allowed, f"{len(turned)} decisions turned, {allowed} are allowed: {'; '.join(turned)}"


def test_a_batch_gets_the_scores_of_single_films(bundle: Bundle, name: str, golden: Golden, sessions: Sessions) -> None:
    """Drift and evaluation ask for batches, the clinic for one film after another: a runtime may have another form for each."""
    films = list(prepared(bundle.manifest.preprocessing).values())[:BATCH]
    session = sessions(bundle, name)
    together, alone = session.logits(np.stack(films)[:, None]), logits_of(session, films)
    distance = float(np.abs(together - alone).max())
    allowed = golden.artifacts[name].same.largest
    assert distance <= allowed, f"in a batch, logits of {name} are up to {distance:.4f} from those of single films, {allowed} is allowed"
