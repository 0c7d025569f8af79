"""A predictor in a process of its own: a film that kills it is found, tried again, and skipped when it kills it again."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from toolkit.archive.remote import is_remote, read
from toolkit.core.bundle import Bundle
from toolkit.core.prediction import Prediction
from toolkit.engine.tied import end_with_parent
from toolkit.imaging.decode import read_file
from toolkit.infer.predictor import REJECTED, Film, Predictor, as_text
from toolkit.infer.stream import attempt

TRIES = 2
FILM_S = 60.0  # a film that takes longer counts as one that killed its process
START_S = 300.0


class Question(NamedTuple):
    """What is asked of each film: by which bundle in which folder, which artifact, and the folder that films' names are relative to."""

    bundle: Path
    artifact: str
    root: Path


class Isolated:
    """Judges films one after another, in a process that is started anew when it dies."""

    def __init__(self, question: Question, film_s: float = FILM_S, opener: Callable[[Question], int] | None = None) -> None:
        """`opener` opens the bundle in the child and gives the child's number. Raises what opening raises."""
        self._question, self._film_s, self._opener = question, film_s, opener or _open
        self._bundle = Bundle(question.bundle)
        self._start()

    def judge(self, names: Sequence[str]) -> list[Prediction]:
        """A prediction a film, in their order."""
        found: list[Prediction] = []
        tries = 0
        while len(found) < len(names):
            before = len(found)
            cause = self._judged(names[before:], found)
            if cause is None:
                break
            tries = tries + 1 if len(found) == before else 1
            if tries == TRIES:
                found.append(self._skipped(names[len(found)], cause))
                tries = 0
        return found

    def close(self) -> None:
        """End the process."""
        with suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGKILL)
        self._pool.shutdown()

    def _judged(self, names: Sequence[str], found: list[Prediction]) -> str | None:
        """Adds predictions to `found`, until all are there or the process has died; what happened to it then, in words."""
        futures: list[Future[Prediction]] = []
        try:
            futures = [self._pool.submit(_judge, name) for name in names]
            for future in futures:
                found.append(future.result(self._film_s))  # noqa: PERF401  (what came before an error stays)
        except (BrokenExecutor, TimeoutError) as cause:
            self.close()
            self._start()
            return f"took more than {self._film_s:g} s" if isinstance(cause, TimeoutError) else "killed the process that read it"
        return None

    def _start(self) -> None:
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self._child = self._pool.submit(self._opener, self._question).result(START_S)

    def _skipped(self, name: str, cause: str) -> Prediction:
        return Prediction(
            path=as_text(name),
            label=None,
            probability=None,
            threshold=self._bundle.artifact(self._question.artifact).operating.threshold,
            decision=REJECTED,
            artifact=self._question.artifact,
            ms=0.0,
            error=f"{cause}, {TRIES} times; it was skipped",
            bundle_sha256=self._bundle.sha256,
        )


_asked: list[Callable[[str], Prediction]] = []  # in the child


def _open(question: Question) -> int:
    """In the child: load the bundle; the child's number."""
    end_with_parent()
    predictor = Predictor(Bundle(question.bundle), question.artifact, threads=1)

    def film(name: str) -> Film:
        return predictor.prepare(read(name) if is_remote(name) else read_file(question.root / name))

    _asked[:] = [lambda name: predictor.decide(name, attempt(film, name)).prediction]
    return os.getpid()


def _judge(name: str) -> Prediction:
    return _asked[0](name)
