"""Which widths: candidates are cut, recover a little, are exported and timed, and must keep their recall on held-out patients.

Every trial goes into an Optuna study in `search.db`, so a search that was killed goes on. `bisection` walks one ratio of all layers,
`optuna` draws a ratio for each by TPE (Bergstra et al. 2011) under the constraint of the recall gate.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from toolkit.core.codec import decode, to_plain
from toolkit.core.progress import track
from toolkit.core.recipe import SearchSpec
from toolkit.core.reports import Candidate
from toolkit.errors import MissingDependencyError, PruningError, StageError
from toolkit.prune.pruning import Pruning
from toolkit.prune.recovery import recover

if TYPE_CHECKING:
    import optuna

LOG = logging.getLogger(__name__)
STUDY, KEY, FOUND = "search.db", "recipe_sha256", "candidate"


class Asked(NamedTuple):
    """A candidate that is to be judged: the number of its trial, and how many channels stay, by layer."""

    number: int
    widths: Mapping[str, int]


Judge = Callable[[Iterable[Asked]], Iterator[tuple[Asked, Candidate]]]
"""Judges candidates, as many at once as it can, and gives each back as soon as it is judged."""


def search(work: Pruning, folder: Path, judge: Judge | None = None) -> tuple[Mapping[str, int], tuple[Candidate, ...]]:
    """The widths of the smallest candidate that passed, and all candidates in the order that they were tried. `judge`: where candidates are
    trained and measured; None for this process, one after another.

    Raises PruningError when none passed, StageError when the study in `folder` belongs to another recipe.
    """
    spec = work.spec.search
    assert spec is not None
    study = _study(work, folder)
    walk = _bisect if spec.method == "bisection" else _sample
    walk(work, spec, study, judge or (lambda items: ((one, candidate_of(work, one.widths)) for one in items)))
    candidates = with_pareto([decode(trial.user_attrs[FOUND], Candidate, STUDY) for trial in _complete(study)])
    passed = [candidate for candidate in candidates if candidate.passed]
    if not passed:
        nearest = min(candidates, key=lambda candidate: candidate.recall_loss_pt)
        raise PruningError(
            f"None of {len(candidates)} candidates keeps its recall within {spec.max_recall_loss_pt:g} points on held-out patients: the "
            f"nearest loses {nearest.recall_loss_pt:.2f}; lower prune.search.low, or give more prune.search.epochs."
        )
    return min(passed, key=lambda candidate: candidate.bytes).kept, tuple(candidates)


def with_pareto(candidates: list[Candidate]) -> list[Candidate]:
    """The same, those marked that passed and that no other which passed beats in size, latency and recall at once."""
    passed = [candidate for candidate in candidates if candidate.passed]
    return [msgspec.structs.replace(one, pareto=one.passed and not any(_dominates(other, one) for other in passed)) for one in candidates]


def _dominates(one: Candidate, other: Candidate) -> bool:
    first, second = ((it.bytes, it.p50_ms, it.recall_loss_pt) for it in (one, other))
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))


def _bisect(work: Pruning, spec: SearchSpec, study: optuna.Study, judge: Judge) -> None:
    """Higher after a pass, lower after a failure."""
    low, high = spec.low, spec.high
    known = {trial.params["ratio"]: trial for trial in _complete(study)}
    for number in track(range(spec.trials), spec.trials, "search"):
        ratio = spec.low if number == 0 else (low + high) / 2
        if ratio not in known:
            study.enqueue_trial({"ratio": ratio}, skip_if_exists=False)
            trial = study.ask()
            trial.suggest_float("ratio", 0.0, 1.0)
            ((_, candidate),) = judge([Asked(trial.number, work.widths(ratio))])
            known[ratio] = _tell(spec, study, trial, candidate)
        passed = known[ratio].user_attrs[FOUND]["passed"]
        if number == 0 and not passed:
            return
        low, high = (ratio, high) if passed else (low, ratio)


def _sample(work: Pruning, spec: SearchSpec, study: optuna.Study, judge: Judge) -> None:
    """A ratio for each layer, drawn anew for each trial."""
    names = [group.name for group in work.groups[0]]
    done, trials = len(_complete(study)), {}

    def drawn() -> Iterator[Asked]:
        for _ in range(done, spec.trials):
            trial = study.ask()
            ratios = {name: trial.suggest_float(name, 0.0, spec.high) for name in names}
            trials[trial.number] = trial
            yield Asked(trial.number, work.widths(ratios))

    for asked, candidate in track(judge(drawn()), spec.trials - done, "search"):
        _tell(spec, study, trials[asked.number], candidate)


def _tell(spec: SearchSpec, study: optuna.Study, trial: optuna.Trial, candidate: Candidate) -> Any:
    trial.set_user_attr(FOUND, to_plain(candidate))
    trial.set_constraint("recall", candidate.recall_loss_pt - spec.max_recall_loss_pt)
    return study.tell(trial, (float(candidate.bytes), candidate.p50_ms))


def candidate_of(work: Pruning, widths: Mapping[str, int]) -> Candidate:
    """A candidate, recovered for the search's epochs, exported and timed beside the dense network."""
    spec = work.spec.search
    assert spec is not None
    network = work.narrow(widths)
    recovery = msgspec.structs.replace(work.spec.recovery, epochs=spec.epochs)
    with _scratch() as place:
        recover(network, work.dense, recovery, work.training, work.task, Path(place))
    loss, area_loss = work.losses(network)
    times = work.gauge.latency_ms({"dense": work.dense, "candidate": network})
    slower = bool((times["candidate"] > times["dense"]).all())
    found = Candidate(
        kept=dict(widths),
        bytes=work.gauge.bytes(network),
        p50_ms=float(np.median(times["candidate"])),
        recall_loss_pt=loss,
        roc_auc_loss=area_loss,
        passed=loss <= spec.max_recall_loss_pt + 1e-9 and not slower,
    )
    LOG.info(
        "candidate: %.2f MB, %.3f ms, recall loss %.2f pt, AUC loss %.4f: %s",
        found.bytes / 1e6,
        found.p50_ms,
        loss,
        area_loss,
        "passed" if found.passed else "dropped",
    )
    return found


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """Where a candidate's training leaves what nobody needs afterwards."""
    return tempfile.TemporaryDirectory(prefix="cxr-edge-candidate-")


def _complete(study: optuna.Study) -> list[Any]:
    """The trials that ended; one that was killed counts for nothing."""
    return [trial for trial in study.get_trials(deepcopy=False) if FOUND in trial.user_attrs and trial.state.is_finished()]


def _study(work: Pruning, folder: Path) -> optuna.Study:
    try:
        import optuna
    except ImportError as cause:
        raise MissingDependencyError("optuna", "workshop", "Searching for widths") from cause
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = folder / STUDY
    study = optuna.create_study(study_name="prune", storage=f"sqlite:///{file}", directions=("minimize", "minimize"), load_if_exists=True)
    key = work.task.provenance.recipe_sha256
    if study.user_attrs.get(KEY, key) != key:
        raise StageError(f"{file} is the study of another recipe; remove it, or choose another --out.")
    study.set_user_attr(KEY, key)
    seed = work.task.seed + len(study.get_trials(deepcopy=False))  # a search that goes on draws what it did not draw before
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    return study
