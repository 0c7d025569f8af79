"""The stages in order. Each leaves a folder in RUN with its mark; a stage whose mark fits is not run again.

    RUN/train  RUN/prune  RUN/quantize  RUN/export  RUN/validate  RUN/benchmark  ->  RUN/bundle, report.json, report.html

A mark holds the digest of everything that the stage depends on, and whether it is done. A killed stage is not: it resumes
(train, prune) or starts again. A mark that does not fit is never overwritten unless asked: hours of training are not lost
to a typing error.
"""

from __future__ import annotations

import importlib
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from toolkit.core import ranks
from toolkit.core.bundle import MANIFEST, TEACHES, Bundle
from toolkit.core.codec import Frozen, encode_json, read_json
from toolkit.core.files import sha256_of, sha256_of_bytes, storage_errors, write_atomically
from toolkit.core.locks import held
from toolkit.core.recipe import STAGES, Recipe
from toolkit.core.reports import Sensitivity
from toolkit.core.turns import working
from toolkit.data.cases import Case, Source
from toolkit.data.films import Films
from toolkit.data.phantom import write_phantoms
from toolkit.data.shortcuts import contradiction
from toolkit.data.sources import read_source
from toolkit.data.splits import Splits, split_by_patient
from toolkit.data.store import stored_films
from toolkit.errors import DataError, MissingDependencyError, StageError

LOG = logging.getLogger(__name__)
MARK = "stage.json"
FILMS = "films"
PATIENCE_S = 3.0
CHECKPOINT = "checkpoint.json"
SENSITIVITY = "sensitivity"
WORKSHOP = ("torch", "workshop", "Making a model")


class Mark(Frozen, frozen=True, kw_only=True):
    """`stage.json`: written with `done` false when a stage starts, true when all that it leaves is there."""

    key: str
    done: bool


class Run:
    """A recipe, its data and the folder that the stages work in."""

    def __init__(self, recipe: Recipe, data: Path | None, out: Path) -> None:
        self.recipe = recipe
        self.out = out
        self.data = data
        self.judge: Any = None  # where candidates of a pruning search are judged (`searching.on_engine`); None for this process
        self._films: dict[str, Films] = {}

    @cached_property
    def source(self) -> Source:
        """The films: those at `--data`, or phantoms drawn as the recipe says; raises DataError when there is neither."""
        if self.data is not None:
            return read_source(self.data, self.recipe.labels)
        spec = self.recipe.data.phantom
        if spec is None:
            raise DataError(f"Recipe '{self.recipe.name}' has no films of its own; give a folder with --data.")
        folder = self.out / f"phantoms-{sha256_of_bytes(encode_json(spec))[:8]}"
        if not folder.is_dir():
            write_phantoms(spec, folder)
        return read_source(folder, self.recipe.labels)

    @cached_property
    def splits(self) -> Splits:
        """Train, held-out and test films."""
        spec = self.recipe.data
        return split_by_patient(self.source, spec, self.recipe.seed, self._contradiction() if spec.holdout_rule == "conflict" else None)

    def _contradiction(self) -> dict[str, float]:
        """By film: how much trivial statistics speak against its label. A property of the films: no seed of the recipe enters."""
        pool = self.source.of("train", "val")
        films = stored_films(self.source, pool, self.recipe.preprocessing, self.out / FILMS, "read films")
        return dict(zip([case.name for case in pool], contradiction(films, seed=0).tolist(), strict=True))

    def films(self, split: str) -> Films:
        """Prepared films of 'train', 'holdout' or 'test', from RUN/films; raises DataError when one cannot be used."""
        if split not in self._films:
            cases: tuple[Case, ...] = getattr(self.splits, split)
            self._films[split] = stored_films(self.source, cases, self.recipe.preprocessing, self.out / FILMS, f"read {split}")
        return self._films[split]

    def folder(self, stage: str) -> Path:
        """Where a stage leaves its results."""
        return self.out / stage

    def key(self, stage: str) -> str:
        """Digest of recipe, data and the files that the recipe names, as far as the stage depends on them."""
        through = "prune" if stage == SENSITIVITY else stage
        return sha256_of_bytes(f"{self.recipe.sha256_through(through)} {self.source.sha256()}{self._given}".encode())

    @cached_property
    def _given(self) -> str:
        """Digests of the weights and of the teacher that training begins with; raises StageError when one is missing."""
        spec = self.recipe.train
        given = [Path(spec.weights)] if spec.weights not in ("random", "imagenet") else []
        given += [Path(spec.distill.teacher)] if spec.distill else []
        return "".join(f" {_digest(place)}" for place in given)

    def is_done(self, stage: str) -> bool:
        """True when the stage's results lie here and belong to this recipe and these films."""
        mark = self._mark(stage)
        return mark is not None and mark.done and mark.key == self.key(stage)

    def begin(self, stage: str) -> None:
        """Make the stage's folder ready; raises StageError when it holds results of another recipe or other films."""
        key, mark, folder = self.key(stage), self._mark(stage), self.folder(stage)
        if mark is not None and mark.key != key:
            raise StageError(
                f"{folder} was made with another recipe or other films; "
                f"choose another --out, or add --redo {stage} to make it and all that follows anew."
            )
        if mark is None:
            shutil.rmtree(folder, ignore_errors=True)
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.mark(stage, done=False)

    def mark(self, stage: str, done: bool) -> None:
        """Write the stage's mark."""
        write_atomically(self.folder(stage) / MARK, encode_json(Mark(key=self.key(stage), done=done)))

    def forget(self, first: str) -> None:
        """Remove the results of a stage and of all that follow it."""
        for stage in STAGES[STAGES.index(first) :]:
            shutil.rmtree(self.folder(stage), ignore_errors=True)

    def _mark(self, stage: str) -> Mark | None:
        path = self.folder(stage) / MARK
        return read_json(path, Mark, StageError) if path.is_file() else None


def _digest(given: Path) -> str:
    """Of what stands for given weights or a teacher: the file, the description in a checkpoint's folder, or the graph of a bundle that
    teaches, which a new card or another artifact leaves as it is. Raises StageError where there is none, InputError for a bundle without
    that graph."""
    if (given / MANIFEST).is_file():
        return Bundle(given).artifact(TEACHES).files[0].sha256
    file = given / CHECKPOINT if given.is_dir() else given
    if not file.is_file():
        raise StageError(f"No {file}, which the recipe's section 'train' names; set train.weights or train.distill to its place.")
    return sha256_of(file)


def run_stages(run: Run, first: str, last: str) -> None:
    """Run the stages from `first` to `last`; those that are done are left alone.

    Raises StageError when the stage before `first` is not done, MissingDependencyError without the workshop.
    """
    work = workshop("stages")
    if ranks.count() > 1 and (first, last) != ("train", "train"):
        raise StageError("Several processes of torchrun can 'train' together; run the other stages in one process, without torchrun.")
    with work.together(), _alone_in(run.out):
        with work.first_first():
            start = STAGES.index(first)
            for before in STAGES[:start]:
                _need(run, first, before)
        stages = STAGES[start : STAGES.index(last) + 1]
        if "validate" in stages and not run.is_done(first):
            run.begin(first)
            run.films("test")  # one that cannot be used is said now, not after hours of training
        for stage in stages:
            _run_stage(run, work, stage)


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Two commands in one run's folder would take each other's results for their own; one that was killed a moment ago may still let go."""
    if not ranks.is_first():
        yield
        return
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with held(out, f"{out} is being worked in by another command; wait for it, or choose another --out.", PATIENCE_S):
        yield


def _run_stage(run: Run, work: ModuleType, stage: str) -> None:
    with work.first_first():
        done = run.is_done(stage)
        if not done and ranks.is_first():
            run.begin(stage)
    if done:
        LOG.info("%s: done before, kept", stage)
        return
    started = time.monotonic()
    LOG.info("%s ...", stage)
    with working():
        getattr(work, stage)(run)
    if ranks.is_first():
        run.mark(stage, done=True)
    LOG.info("%s: done in %.0f s", stage, time.monotonic() - started)


def sensitivities(run: Run, redo: bool) -> tuple[Sensitivity, ...]:
    """Prune each layer of what 'train' left alone; rows of another recipe or other films are refused, unless they are to be made anew."""
    work = workshop("stages")
    _need(run, "prune", "train")
    if redo:
        shutil.rmtree(run.folder(SENSITIVITY), ignore_errors=True)
    run.begin(SENSITIVITY)
    rows: tuple[Sensitivity, ...] = work.prune_sensitivity(run)
    run.mark(SENSITIVITY, done=True)
    return rows


def _need(run: Run, stage: str, before: str) -> None:
    if not run.is_done(before):
        raise StageError(
            f"'{stage}' continues from what '{before}' leaves in {run.folder(before)}, and that is missing or belongs to "
            f"another recipe or other films: run cxr-edge {before} first, with the same recipe, --data and --out."
        )


def workshop(name: str) -> ModuleType:
    """The top-level module `name`, which needs the workshop; imported here and not before: the clinic's verbs never need it.

    Raises MissingDependencyError when a package of the workshop is not installed.
    """
    try:
        return importlib.import_module(f"toolkit.{name}")
    except ImportError as cause:
        raise MissingDependencyError(cause.name or WORKSHOP[0], *WORKSHOP[1:]) from cause
