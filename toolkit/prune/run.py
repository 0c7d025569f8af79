"""The stage `prune`: a dense network, a PruneSpec and films in, a smaller Checkpoint out, step by step."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from toolkit.core.artifacts import Checkpoint
from toolkit.core.codec import Frozen, encode_json, read_json
from toolkit.core.files import write_atomically
from toolkit.core.metrics import Confusion, roc_auc
from toolkit.core.recipe import PruneSpec
from toolkit.core.reports import Candidate, PruneReport, PruneStep
from toolkit.models.registry import count_parameters
from toolkit.prune.budget import reach, refuse_slower
from toolkit.prune.pruning import Pruning, ranked
from toolkit.prune.recovery import recover
from toolkit.prune.search import Judge, search
from toolkit.prune.structured import cut, least_important, on_the_way
from toolkit.prune.unstructured import make_zeros, sparsity, sparsity_at, whole_layers
from toolkit.train.checkpoint import DESCRIPTION, WEIGHTS, has_checkpoint, load_checkpoint
from toolkit.train.fit import HISTORY, read_history, write_history
from toolkit.train.run import keep
from toolkit.train.score import score

LOG = logging.getLogger(__name__)
REPORT, GOAL = "prune.json", "goal.json"


class Goal(Frozen, frozen=True, kw_only=True):
    """`goal.json`: how many channels of each layer stay, found once, since a latency is never measured the same twice."""

    kept: Mapping[str, int]
    left_dense: tuple[str, ...]
    candidates: tuple[Candidate, ...] = ()


def prune(work: Pruning, folder: Path, judge: Judge | None = None) -> Checkpoint:
    """Prune in `spec.steps` steps, each followed by recovery; leaves the checkpoint, `history.csv` and `prune.json` in `folder`. `judge` as
    in `search`.

    A killed run goes on in the step, and the epoch, where it was. Raises PruningError for a budget out of reach, a candidate that is
    slower than its parent, and a layer that would vanish.
    """
    goal = _goal(work, folder, judge) if work.spec.method == "structured" else None
    network, steps = work.dense, []
    for step in range(1, _steps(work.spec) + 1):
        place = folder / f"step-{step}"
        if not has_checkpoint(place):
            _one_step(work, network, goal, step, place)
        checkpoint, network = load_checkpoint(place)
        steps.append(_described(work, checkpoint, network))
        LOG.info("step %d: %s", step, _in_words(steps[-1]))
    left = goal.left_dense if goal else whole_layers(work.dense, work.spec)
    report = PruneReport(method=work.spec.method, steps=tuple(steps), left_dense=left, candidates=goal.candidates if goal else ())
    write_atomically(folder / REPORT, encode_json(report))
    return _finish(folder, len(steps))


def _goal(work: Pruning, folder: Path, judge: Judge | None) -> Goal:
    file = folder / GOAL
    if file.is_file():
        return read_json(file, Goal)
    if work.spec.search is not None:
        widths, candidates = search(work, folder, judge)
    else:
        assert work.spec.target is not None  # PruneSpec holds one of the two
        ratio = reach(work.spec.target, work, work.gauge)
        widths, candidates = work.widths(ratio), ()
    refuse_slower(work.dense, work.narrow(widths), work.spec, work.gauge)
    goal = Goal(kept=widths, left_dense=work.groups[1], candidates=candidates)
    if goal.left_dense:
        LOG.warning("left dense, since their channels cannot be taken out: %s", ", ".join(goal.left_dense))
    write_atomically(file, encode_json(goal))
    return goal


def _steps(spec: PruneSpec) -> int:
    return 1 if spec.method in ("n_m", "none") else spec.steps


def _one_step(work: Pruning, network: nn.Module, goal: Goal | None, step: int, place: Path) -> None:
    spec = work.spec
    place.mkdir(parents=True, exist_ok=True)
    if goal is not None:
        groups = [group for group in ranked(work, network)[0] if group.name in goal.kept]
        full = {group.name: len(group.scores) for group in work.groups[0]}
        widths = on_the_way(full, goal.kept, step / spec.steps, spec)
        smaller = cut(network, work.task.preprocessing, least_important(groups, widths))
    else:
        smaller = copy.deepcopy(network)
        if spec.method != "none":
            make_zeros(smaller, spec, sparsity_at(step, spec.steps, spec.sparsity), work.task.seed + step)
    epochs = 0 if spec.method == "none" else recover(smaller, work.dense, spec.recovery, work.training, work.task, place)
    keep(smaller, work.training, work.task, place, epochs, sparsity(smaller))


def _described(work: Pruning, checkpoint: Checkpoint, network: nn.Module) -> PruneStep:
    labels = work.task.holdout.labels
    logits = score(network, work.task.holdout.images, work.task.preprocessing)
    rates, _ = Confusion.of(labels, checkpoint.operating.probability(logits) >= checkpoint.operating.threshold).rates()
    return PruneStep(
        sparsity=checkpoint.sparsity,
        parameters=count_parameters(network),
        macs=work.gauge.macs(network),
        bytes=work.gauge.bytes(network),
        epochs=checkpoint.epochs,
        threshold=checkpoint.operating.threshold,
        temperature=checkpoint.operating.temperature,
        recall=rates["recall"],
        specificity=rates["specificity"],
        roc_auc=roc_auc(labels, logits),
    )


def _in_words(step: PruneStep) -> str:
    return (
        f"{100 * step.sparsity:.1f} % zeros, {step.parameters} parameters, {step.macs / 1e6:.1f} million multiply-accumulates, "
        f"{step.bytes / 1e6:.2f} MB; held-out AUC {step.roc_auc or float('nan'):.3f}"
    )


def _finish(folder: Path, steps: int) -> Checkpoint:
    """The last step's checkpoint becomes the stage's, and the histories of all steps one."""
    rows: list[dict[str, float]] = []
    for step in range(1, steps + 1):
        place = folder / f"step-{step}"
        found = read_history(place) if (place / HISTORY).is_file() else ()
        rows += [{**row, "epoch": len(rows) + number} for number, row in enumerate(found, start=1)]
    write_history(folder / HISTORY, rows)
    for name in (WEIGHTS, DESCRIPTION):
        shutil.copyfile(folder / f"step-{steps}" / name, folder / f"{name}.part")
        (folder / f"{name}.part").replace(folder / name)
    return read_json(folder / DESCRIPTION, Checkpoint)
