"""Candidates of a pruning search on an engine, each judged in a process of its own. Wiring only. Needs the workshop."""

from __future__ import annotations

import multiprocessing
import platform
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from toolkit import stages
from toolkit.core import turns
from toolkit.core.recipe import Recipe
from toolkit.core.reports import Candidate
from toolkit.engine.tied import end_with_parent
from toolkit.engine.work import Engine
from toolkit.errors import ClusterError
from toolkit.pipeline import Run
from toolkit.prune.pruning import Pruning
from toolkit.prune.search import Asked, Judge, candidate_of


@dataclass(frozen=True)
class Candidates:
    """The work: cut the run's dense network, let it recover, time it, alone on its machine. Workers see the run's folder and its films."""

    key: str
    recipe: Recipe
    data: Path
    out: Path
    cores: int = 1

    @contextmanager
    def open(self) -> Iterator[Callable[[Asked], Candidate]]:
        """A process with the dense network and the films, which is asked with one candidate after another."""
        for folder in (self.data, self.out):
            if not folder.exists():
                raise ClusterError(f"The worker on {platform.node()} does not see {folder}; mount it there, at the same place.")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _open, (self,)) as pool:
            yield lambda asked: _answer(pool, asked)


def on_engine(run: Run, engine: Engine) -> Judge:
    """Judges candidates of the run's search on an engine."""
    work = Candidates(f"candidates {run.key('prune')}", run.recipe, Path(run.source.where).resolve(), run.out.resolve())

    def judge(items: Iterable[Asked]) -> Iterator[tuple[Asked, Candidate]]:
        return engine.run(work, items)

    return judge


def _answer(pool: ProcessPoolExecutor, asked: Asked) -> Candidate:
    try:
        return pool.submit(_judged, asked).result()
    except BrokenExecutor as cause:
        raise ClusterError(
            f"The process that judged candidate {asked.number} on {platform.node()} was killed; give the command again."
        ) from cause


_work: list[Pruning] = []  # in the process


def _open(work: Candidates) -> None:
    end_with_parent()
    turns.take_turns()
    torch.set_num_threads(work.cores)
    _work[:] = [stages.pruning(Run(work.recipe, work.data, work.out))[0]]


def _judged(asked: Asked) -> Candidate:
    with turns.working():
        return candidate_of(_work[0], asked.widths)
