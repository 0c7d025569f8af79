"""Budgets: the least ratio that meets them, and what cannot be had is said with figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.prune.conftest import CountingGauge
from toolkit.core.recipe import TargetSpec
from toolkit.errors import PruningError
from toolkit.models.registry import count_parameters
from toolkit.prune.budget import HALVINGS, reach, refuse_slower
from toolkit.prune.pruning import Pruning

Make = Callable[..., Pruning]


@pytest.mark.parametrize(
    ("target", "parameters"),
    [(TargetSpec(macs=9000), 9000), (TargetSpec(bytes=36_000), 9000), (TargetSpec(latency_ms=0.009), 9000)],
    ids=["macs", "bytes", "latency"],
)
def test_the_widest_network_within_the_budget_is_found(target: TargetSpec, parameters: int, pruning: Make) -> None:
    work = pruning(method="structured", target=target, round_to=1, min_channels=1, scope="layer")
    ratio = reach(target, work, work.gauge)
    assert count_parameters(work.narrow(work.widths(ratio))) <= parameters
    assert count_parameters(work.narrow(work.widths(ratio - 0.02))) > parameters


def test_near_ratios_that_give_the_same_network_are_measured_once(pruning: Make) -> None:
    work = pruning(method="structured", target=TargetSpec(latency_ms=0.03), round_to=32, scope="layer")
    reach(work.spec.target, work, work.gauge)
    networks = {tuple(work.widths(ratio / 1000).values()) for ratio in range(991)}
    assert len(work.gauge.asked) <= len(networks) < HALVINGS


def test_a_ratio_is_taken_as_it_is(pruning: Make) -> None:
    target = TargetSpec(ratio=0.3)
    work = pruning(method="structured", target=target)
    assert reach(target, work, work.gauge) == 0.3


def test_a_budget_out_of_reach_names_the_nearest(pruning: Make) -> None:
    target = TargetSpec(bytes=1000)
    work = pruning(method="structured", target=target)
    least = 4 * count_parameters(work.narrow(work.widths(0.99)))
    with pytest.raises(PruningError, match=rf"target of 1000 bytes cannot be reached: the nearest is {least:.4g}"):
        reach(target, work, work.gauge)


def test_a_candidate_that_is_slower_in_every_round_is_refused_with_the_figures(pruning: Make) -> None:
    work = pruning(method="structured", target=TargetSpec(ratio=0.5), gauge=CountingGauge(slower=True))
    smaller = work.narrow(work.widths(0.5))
    with pytest.raises(PruningError, match=r"slower than its parent: 1\.\d+ ms against 0\.0\d+ ms in openvino on 2 threads"):
        refuse_slower(work.dense, smaller, work.spec, work.gauge)


def test_an_equally_fast_candidate_is_not(pruning: Make) -> None:
    work = pruning(method="structured", target=TargetSpec(ratio=0.5))
    refuse_slower(work.dense, work.dense, work.spec, work.gauge)
