"""What artifacts say of labelled films: decoded once, scored by all of them, a batch at a time; here, or on an engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.files import sha256_of_bytes
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.progress import track
from toolkit.data.cases import Case, Source, Truth
from toolkit.data.films import prepared
from toolkit.engine.work import Engine
from toolkit.imaging.decode import Pixels
from toolkit.imaging.look import Look, look_of
from toolkit.infer.packed import Packed, packed, unpacked
from toolkit.infer.predictor import open_session
from toolkit.infer.runtimes import Session
from toolkit.validate.evaluate import BATCH

PIECE = 64  # films that travel together


@dataclass(frozen=True)
class Answers:
    """What sessions say of films that could be used: logits float32 `[N]` by name, and how each film looks."""

    films: Truth
    logits: Mapping[str, NDArray[np.float32]]
    looks: tuple[Look, ...]


def answers(source: Source, cases: tuple[Case, ...], preprocessing: Preprocessing, sessions: Mapping[str, Session]) -> Answers:
    """Decode and score the films of `cases`, a batch at a time; what cannot be used is listed with its reason."""
    usable: list[Case] = []
    unusable: list[tuple[str, str]] = []
    looks: list[Look] = []
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in sessions}
    for batch in _batches(source, cases, preprocessing):
        good = [(case, pixels) for case, pixels in batch if not isinstance(pixels, str)]
        unusable += [(case.name, pixels) for case, pixels in batch if isinstance(pixels, str)]
        usable += [case for case, _ in good]
        looks += [look_of(source.raw(case.name), pixels) for case, pixels in good]
        if good:
            images = np.stack([pixels for _, pixels in good])[:, None]  # [n, 1, S, S]
            for name, session in sessions.items():
                parts[name].append(session.logits(images))
    logits = {name: np.concatenate([np.empty(0, np.float32), *found]) for name, found in parts.items()}
    return Answers(Truth(tuple(usable), tuple(unusable)), logits, tuple(looks))


def _batches(source: Source, cases: tuple[Case, ...], preprocessing: Preprocessing) -> Iterator[tuple[tuple[Case, Pixels | str], ...]]:
    pairs = zip(cases, prepared(source, cases, preprocessing, "judge films"), strict=True)
    while batch := tuple(itertools.islice(pairs, BATCH)):
        yield batch


class Piece(NamedTuple):
    """Films that are judged together, with what their source gives of each."""

    number: int
    cases: tuple[Case, ...]
    raw: Mapping[str, bytes | Pixels]


class Model(NamedTuple):
    """An artifact of a bundle, under the name that its scores get."""

    name: str
    bundle: Bundle
    artifact: Artifact


@dataclass(frozen=True)
class Scoring:
    """The work: score a piece of films with all models, whose files travel with it, on one thread."""

    key: str
    models: tuple[tuple[str, str, Packed], ...]  # name, artifact, files
    preprocessing: Preprocessing
    cores: int = 1

    @classmethod
    def by(cls, models: tuple[Model, ...], preprocessing: Preprocessing) -> Scoring:
        """Raises BundleError when a file was changed."""
        key = sha256_of_bytes(" ".join(f"{one.name} {one.bundle.sha256} {one.artifact.name}" for one in models).encode())
        files = tuple((one.name, one.artifact.name, packed(one.bundle, (one.artifact,))) for one in models)
        return cls(f"scoring {key}", files, preprocessing)

    @contextmanager
    def open(self) -> Iterator[Callable[[Piece], Answers]]:
        """All models, loaded."""
        with ExitStack() as during:
            sessions = {}
            for name, artifact, files in self.models:
                bundle = during.enter_context(unpacked(files))
                sessions[name] = open_session(bundle, bundle.artifact(artifact), threads=1)
            yield lambda piece: answers(Source("", piece.cases, piece.raw.__getitem__), piece.cases, self.preprocessing, sessions)


def answers_on(engine: Engine, source: Source, cases: tuple[Case, ...], scoring: Scoring) -> Answers:
    """As `answers`, of the work's models: films are read here, decoded and scored on the engine."""
    starts = range(0, len(cases), PIECE)
    parts = (cases[start : start + PIECE] for start in starts)
    pieces = (Piece(number, part, {case.name: source.raw(case.name) for case in part}) for number, part in enumerate(parts))
    found = {piece.number: said for piece, said in track(engine.run(scoring, pieces), len(starts), "judge films")}
    ordered = [found[number] for number in range(len(starts))]
    unusable = tuple(one for said in ordered for one in said.films.unusable)
    films = Truth(tuple(case for said in ordered for case in said.films.cases), unusable)
    logits = {name: np.concatenate([np.empty(0, np.float32), *(said.logits[name] for said in ordered)]) for name, *_ in scoring.models}
    return Answers(films, logits, tuple(look for said in ordered for look in said.looks))
