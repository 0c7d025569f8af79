"""Many runs of one recipe, on an engine: which values each run gets, what came of it, and which of them none beats. Wiring only. Needs the
workshop.

    RUN/study.db                    Optuna's study, unless the recipe names another storage
    RUN/trials/0007/                an ordinary run: `cxr-edge compress RUN/trials/0007/recipe.yaml --out RUN/trials/0007` goes on with it
    RUN/sweep.json, sweep.html      what came of all

Values come from the study, which only the command writes; workers know their own run alone. A run that was lost with its worker, or with
the command, is still marked as running by this command, and is taken up again, in its folder, where that is still there.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from toolkit.core.codec import decode, encode_json, read_json, to_plain
from toolkit.core.files import sha256_of_bytes, write_atomically
from toolkit.core.metrics import recall_at, roc_auc
from toolkit.core.recipe import RangeSpec, Recipe, SweepSpec, with_values
from toolkit.core.sweeps import SweepPoint, SweepReport, SweepTrial
from toolkit.engine.place import PACKAGE
from toolkit.engine.work import Engine
from toolkit.errors import ClusterError, MissingDependencyError, StageError, StorageError
from toolkit.pipeline import Run

if TYPE_CHECKING:
    import optuna

LOG = logging.getLogger(__name__)
STUDY, TRIALS, REPORT, RECIPE = "study.db", "trials", "sweep.json", "recipe.yaml"
SEED, KEY, OWNER, FOUND = "seed", "recipe_sha256", "command", "found"
EARLY = ("train", "prune")  # after these a run can be given up


class Item(NamedTuple):
    """A run to be made: its number, its recipe, its folder, and the best AUC so far after each stage that can end it."""

    number: int
    recipe: Recipe
    seed: int
    values: Mapping[str, Any]
    out: Path
    best: Mapping[str, float]


class Made(NamedTuple):
    """What came of a run, and its AUC on held-out patients after each stage that can end one."""

    trial: SweepTrial
    areas: Mapping[str, float]


@dataclass(frozen=True)
class Runs:
    """The work: a run in a process of its own, `compress` as anybody would call it, in turns with the others on its machine."""

    key: str
    spec: SweepSpec
    data: Path
    cores: int

    def open(self) -> nullcontext[Callable[[Item], Made]]:
        """Nothing is loaded beforehand."""
        return nullcontext(self.made)

    def made(self, item: Item) -> Made:
        """Make the run, or what is missing of it."""
        for folder in (self.data, item.out.parents[1]):
            if not folder.exists():
                raise ClusterError(f"The worker on {platform.node()} does not see {folder}; mount it there, at the same place.")
        write_atomically(item.out / RECIPE, encode_json(item.recipe))  # JSON is YAML
        areas: dict[str, float] = {}
        if self.spec.hopeless_auc is not None:
            for stage in EARLY:
                if reason := self._called(item, stage):
                    return Made(_trial(item, "failed", reason), areas)
                areas[stage] = _held_out_auc(item.out, stage)
                if areas[stage] < item.best.get(stage, 0.0) - self.spec.hopeless_auc:
                    return Made(_trial(item, "hopeless", f"AUC {areas[stage]:.3f} after {stage}, best {item.best[stage]:.3f}"), areas)
        if reason := self._called(item, "compress"):
            return Made(_trial(item, "failed", reason), areas)
        return Made(_trial(item, "done", points=_points(Run(item.recipe, self.data, item.out), self.spec)), areas)

    def _called(self, item: Item, verb: str) -> str:
        """Call a verb on the run; the last line that it says when it fails, and nothing when not."""
        places = (str(item.out / RECIPE), "--data", str(self.data), "--out", str(item.out))
        command = [sys.executable, "-m", "toolkit.engine.tied", "toolkit.cli", verb, *places, "--turns"]
        threads = {name: str(self.cores) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        paths = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        tie, ours = os.pipe()  # `ours` is this process's alone, and is gone with it
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **threads, "PYTHONPATH": paths},
                stdin=tie,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        finally:
            os.close(tie)
            os.close(ours)
        return (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1] if done.returncode else ""


def sweep(recipe: Recipe, data: Path | None, out: Path, engine: Engine) -> SweepReport:
    """Make all runs that the recipe's sweep asks for and that are not made yet; leaves the reports in `out`, as they are after each run.

    Raises StageError when the study belongs to another recipe, StorageError when its storage does not answer, ClusterError.
    """
    spec = recipe.sweep
    assert spec is not None
    key = sha256_of_bytes(encode_json(msgspec.structs.replace(recipe, sweep=msgspec.structs.replace(spec, storage=None))))
    source = Run(recipe, data, out).source  # read, or drawn, once
    with _storage_errors(out), _opened(spec.storage or f"sqlite:///{out.resolve() / STUDY}") as storage:
        study = _Study(recipe, spec, out, _study(recipe, spec, key, storage))
        work = Runs(f"runs {key}", spec, Path(source.where).resolve(), spec.cores)
        for item, made in engine.run(work, study.items()):
            study.tell(item, made)
            LOG.info("run %d: %s %s", item.number, made.trial.state, made.trial.reason)
            _write(out, study.report(source.synthetic))
        report = study.report(source.synthetic)
    _write(out, report)
    return report


class _Study:
    """Optuna's study of this sweep, and what this command has in progress."""

    def __init__(self, recipe: Recipe, spec: SweepSpec, out: Path, study: optuna.Study) -> None:
        self._recipe, self._spec, self._out = recipe, spec, out.resolve()
        self._study, self._optuna = study, _optuna()
        self._owner = f"{platform.node()}:{self._out}"
        self._asked: dict[int, optuna.Trial] = {}
        self._areas: dict[str, float] = {}
        for trial in self._done():
            self._note(trial.user_attrs[FOUND]["areas"])

    def items(self) -> Iterator[Item]:
        """Runs in progress that were lost, then new ones, until there are as many as are wanted."""
        for lost in self._study.get_trials(deepcopy=False, states=(self._optuna.trial.TrialState.RUNNING,)):
            if lost.user_attrs.get(OWNER) == self._owner:
                self._asked[lost.number] = self._optuna.trial.Trial(self._study, lost._trial_id)
                yield self._item(lost.number, lost.params, lost.user_attrs[SEED])
        while self._is_wanted():
            trial = self._study.ask()
            self._asked[trial.number] = trial
            params = {name: _suggested(trial, name, values) for name, values in self._spec.fields.items()}
            trial.set_user_attr(OWNER, self._owner)
            if SEED not in trial.user_attrs:  # drawn, not waited for: the other seeds follow with the same values
                first, *others = self._spec.seeds
                trial.set_user_attr(SEED, first)
                for seed in others:
                    self._study.enqueue_trial(params, user_attrs={SEED: seed})
            yield self._item(trial.number, params, trial.user_attrs[SEED])

    def tell(self, item: Item, made: Made) -> None:
        """Keep what came of a run."""
        states = self._optuna.trial.TrialState
        values = _objectives(made.trial)
        self._asked[item.number].set_user_attr(FOUND, {"trial": to_plain(made.trial), "areas": dict(made.areas)})
        self._study.tell(item.number, values, state=None if values else states.FAIL)
        self._note(made.areas)

    def report(self, synthetic: bool) -> SweepReport:
        """All runs that ended, those of other commands on the same study too, and which artifacts none beats."""
        trials = [decode(trial.user_attrs[FOUND]["trial"], SweepTrial, STUDY) for trial in self._done()]
        return SweepReport(name=self._recipe.name, synthetic=synthetic, specificity=self._spec.specificity, trials=with_pareto(trials))

    def _done(self) -> list[Any]:
        return [trial for trial in self._study.get_trials(deepcopy=False) if FOUND in trial.user_attrs]

    def _note(self, areas: Mapping[str, float]) -> None:
        for stage, area in areas.items():
            self._areas[stage] = max(area, self._areas.get(stage, 0.0))

    def _is_wanted(self) -> bool:
        """True while there is a run that nobody has taken."""
        states = self._optuna.trial.TrialState
        trials = self._study.get_trials(deepcopy=False)
        waiting = any(trial.state == states.WAITING for trial in trials)
        return waiting or (self._spec.method == "optuna" and len(trials) < self._spec.trials)

    def _item(self, number: int, params: Mapping[str, Any], seed: int) -> Item:
        values = {name: _plain(params[name], wanted) for name, wanted in self._spec.fields.items()}
        recipe = with_values(self._recipe, {**values, SEED: seed})
        return Item(number, recipe, seed, values, self._out / TRIALS / f"{number:04d}", dict(self._areas))


def with_pareto(trials: list[SweepTrial]) -> tuple[SweepTrial, ...]:
    """The same, by number, those artifacts marked that no other beats in bytes, latency and recall at once."""
    points = [point for trial in trials for point in trial.points]
    costs = [(point.bytes, point.p50_ms, -point.recall) for point in points]

    def marked(point: SweepPoint) -> SweepPoint:
        own = (point.bytes, point.p50_ms, -point.recall)
        beaten = any(other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in costs)
        return msgspec.structs.replace(point, pareto=not beaten)

    ordered = sorted(trials, key=lambda trial: trial.number)
    return tuple(msgspec.structs.replace(trial, points=tuple(map(marked, trial.points))) for trial in ordered)


@contextmanager
def _opened(url: str) -> Iterator[Any]:
    """A study's storage, closed at the end."""
    storage = _optuna().storages.RDBStorage(url)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _study(recipe: Recipe, spec: SweepSpec, key: str, storage: Any) -> optuna.Study:
    """The study, made and filled with a grid by the first command that opens it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options: dict[str, Any] = {"storage": storage, "study_name": recipe.name}
    try:
        study = optuna.create_study(directions=("minimize", "minimize", "maximize"), **options)
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(**options)
    else:
        study.set_user_attr(KEY, key)
        for params, seed in _grid(spec) if spec.method == "grid" else ():
            study.enqueue_trial(params, user_attrs={SEED: seed})
    if study.user_attrs.get(KEY) != key:
        raise StageError(f"The study '{recipe.name}' in its storage is of another recipe; choose another --out or another name.")
    drawn = recipe.seed + len(study.get_trials(deepcopy=False))  # a sweep that goes on draws what it did not draw before
    study.sampler = optuna.samplers.TPESampler(seed=drawn)
    return study


def _grid(spec: SweepSpec) -> Iterator[tuple[dict[str, Any], int]]:
    """Every combination, seed by seed."""
    lists = [[_coded(value) for value in values] for values in spec.fields.values() if not isinstance(values, RangeSpec)]
    for seed, values in itertools.product(spec.seeds, itertools.product(*lists)):
        yield dict(zip(spec.fields, values, strict=True)), seed


def _suggested(trial: optuna.Trial, name: str, values: tuple[Any, ...] | RangeSpec) -> Any:
    if not isinstance(values, RangeSpec):
        return trial.suggest_categorical(name, [_coded(value) for value in values])
    if values.whole:
        return trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
    return trial.suggest_float(name, values.low, values.high, log=values.log)


def _coded(value: Any) -> str:
    """Optuna's choices are texts and numbers; a recipe's are lists and mappings too."""
    return json.dumps(value)


def _plain(param: Any, values: tuple[Any, ...] | RangeSpec) -> Any:
    return param if isinstance(values, RangeSpec) else json.loads(param)


def _objectives(trial: SweepTrial) -> tuple[float, float, float] | None:
    """Of the run's fastest artifact; None where there is none."""
    if not trial.points:
        return None
    best = min(trial.points, key=lambda point: point.p50_ms)
    return float(best.bytes), best.p50_ms, best.recall


def _trial(item: Item, state: Any, reason: str = "", points: tuple[SweepPoint, ...] = ()) -> SweepTrial:
    return SweepTrial(number=item.number, seed=item.seed, values=item.values, state=state, reason=reason, points=points)


def _points(run: Run, spec: SweepSpec) -> tuple[SweepPoint, ...]:
    """Every artifact of a sealed run that passed and was timed, on held-out patients."""
    from toolkit.core.bundle import Bundle
    from toolkit.seal import BUNDLE
    from toolkit.stages import holdout_of
    from toolkit.validate.evaluate import artifact_logits

    bundle, films = Bundle(run.out / BUNDLE), holdout_of(run)
    found = []
    for artifact in bundle.manifest.artifacts:
        if artifact.passed and artifact.p50_ms is not None:
            logits = artifact_logits(bundle, artifact, films.images)
            found.append(
                SweepPoint(
                    artifact=artifact.name,
                    bytes=artifact.bytes,
                    p50_ms=artifact.p50_ms,
                    recall=recall_at(films.labels, logits, spec.specificity),
                    roc_auc=roc_auc(films.labels, logits) or 0.0,
                )
            )
    return tuple(found)


def _held_out_auc(out: Path, stage: str) -> float:
    """What a stage left of the AUC on held-out patients."""
    from toolkit.core.reports import PruneReport
    from toolkit.train.fit import read_history

    if stage == "train":
        return max(row["holdout_auc"] for row in read_history(out / stage))
    steps = read_json(out / stage / "prune.json", PruneReport).steps
    return (steps[-1].roc_auc if steps else None) or 0.0


def _write(out: Path, report: SweepReport) -> None:
    from toolkit.report.sweep import render_sweep

    write_atomically(out / REPORT, encode_json(report))
    write_atomically(out / "sweep.html", render_sweep(report))


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as cause:
        raise MissingDependencyError("optuna", "workshop", "A sweep") from cause
    return optuna


@contextmanager
def _storage_errors(out: Path) -> Iterator[None]:
    """The study's storage is gone, or was never there: what is finished lies in the runs' folders."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, ImportError) as cause:
        words = str(cause.__cause__ or cause).strip().partition("\n")[0]
        raise StorageError(
            f"The study's storage does not answer: {words}. What is finished lies in {out / TRIALS}; give the same command again when "
            "it does."
        ) from cause
