"""The search: which ratios bisection walks, the gate, the Pareto set, resumption, studies of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from toolkit.core.recipe import RecoverySpec, SearchSpec
from toolkit.core.reports import Candidate
from toolkit.errors import PruningError, StageError
from toolkit.prune import search as module
from toolkit.prune.pruning import Pruning
from toolkit.prune.search import search, with_pareto

Make = Callable[..., Pruning]


def candidate(size: int, ms: float, loss: float, passed: bool = True) -> Candidate:
    return Candidate(kept={"a": size}, bytes=size, p50_ms=ms, recall_loss_pt=loss, roc_auc_loss=0.0, passed=passed)


@pytest.fixture
def graded(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The share of channels that stays decides: below .4 of them, recall is lost. Gives the shares that were asked for."""
    asked: list[float] = []

    def grade(work: Pruning, widths: dict[str, int]) -> Candidate:
        spec = work.spec.search
        assert spec is not None
        share = sum(widths.values()) / sum(len(group.scores) for group in work.groups[0])
        asked.append(share)
        loss = 0.0 if share >= 0.4 else 3.0
        size = int(1e6 * share)
        return Candidate(
            kept=widths, bytes=size, p50_ms=share, recall_loss_pt=loss, roc_auc_loss=0.0, passed=loss <= spec.max_recall_loss_pt
        )

    monkeypatch.setattr(module, "candidate_of", grade)
    return asked


def test_pareto_by_hand() -> None:
    found = with_pareto([candidate(4, 4, 0), candidate(3, 5, 0), candidate(5, 5, 0), candidate(3, 5, -1), candidate(1, 1, 9, passed=False)])
    assert [one.pareto for one in found] == [True, False, False, True, False]


def test_bisection_closes_in_on_the_last_ratio_that_passes(pruning: Make, graded: list[float], tmp_path: Path) -> None:
    spec = SearchSpec(trials=6, low=0.1, high=0.9)
    work = pruning(method="structured", search=spec, scope="layer", round_to=1, min_channels=1)
    widths, candidates = search(work, tmp_path)
    assert graded == pytest.approx([0.9, 0.5, 0.3, 0.4, 0.35, 0.375], abs=0.03)  # 1 - .1, .5, .7, .6, .65, .625
    assert [one.passed for one in candidates] == [True, True, False, True, False, False]
    assert sum(widths.values()) / sum(len(group.scores) for group in work.groups[0]) == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("method", ["bisection", "optuna"])
def test_a_search_that_goes_on_tries_nothing_again(method: str, pruning: Make, graded: list[float], tmp_path: Path) -> None:
    for trials in (3, 5):
        spec = SearchSpec(method=method, trials=trials, max_recall_loss_pt=5.0)  # type: ignore[arg-type]
        _, candidates = search(pruning(method="structured", search=spec, round_to=1, min_channels=1), tmp_path)
        assert len(candidates) == trials
    assert len(graded) == 5
    assert len(set(graded)) == 5


def test_optuna_draws_a_ratio_for_each_layer(pruning: Make, graded: list[float], tmp_path: Path) -> None:
    spec = SearchSpec(method="optuna", trials=4, max_recall_loss_pt=5.0)
    work = pruning(method="structured", search=spec, round_to=1, min_channels=1)
    _, candidates = search(work, tmp_path)
    full = {group.name: len(group.scores) for group in work.groups[0]}
    shares = [[one.kept[name] / full[name] for name in full] for one in candidates]
    assert all(max(layers) - min(layers) > 0.1 for layers in shares)


def test_when_none_passes_the_nearest_is_named(pruning: Make, graded: list[float], tmp_path: Path) -> None:
    spec = SearchSpec(low=0.8, high=0.9)
    with pytest.raises(PruningError, match=r"None of 1 candidates keeps its recall within 0.5 points .* the nearest loses 3.00; lower"):
        search(pruning(method="structured", search=spec, scope="layer", round_to=1, min_channels=1), tmp_path)


def test_the_study_of_another_recipe_is_refused(pruning: Make, graded: list[float], tmp_path: Path) -> None:
    spec = SearchSpec(trials=1)
    work = pruning(method="structured", search=spec)
    search(work, tmp_path)
    other = msgspec.structs.replace(work.task.provenance, recipe_sha256="1" * 64)
    task = work.task.__class__(**{**vars(work.task), "provenance": other})
    with pytest.raises(StageError, match=r"search.db is the study of another recipe; remove it, or choose another --out"):
        search(Pruning(work.spec, work.training, work.dense, task, work.gauge), tmp_path)


def test_a_real_candidate_recovers_and_is_judged_at_the_dense_networks_false_alarms(pruning: Make, tmp_path: Path) -> None:
    spec = SearchSpec(trials=1, epochs=1, max_recall_loss_pt=100.0)
    work = pruning(method="structured", search=spec, recovery=RecoverySpec(epochs=9))
    _, candidates = search(work, tmp_path)
    assert candidates[0].bytes < work.gauge.bytes(work.dense)
    assert work.losses(work.dense) == (0.0, 0.0)
