"""Groups: losses by hand, the gate beyond chance, the worst first."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.core.recipe import ValidateSpec
from toolkit.validate.subgroups import Calls, check, subgroups


def calls(positives: dict[str, tuple[int, int, int]], negatives: int = 0) -> tuple[Calls, dict[str, np.ndarray]]:
    """`positives`: by group, how many there are, how many are lost, how many gained (both models find the others)."""
    before, after, names = [], [], []
    for name, (count, lost, gained) in positives.items():
        names += [name] * count
        before += [True] * (count - gained) + [False] * gained
        after += [False] * lost + [True] * (count - lost)
    sick = np.array([True] * len(names) + [False] * negatives)
    healthy = np.zeros(negatives, bool)
    found = Calls(sick, np.concatenate([np.array(before), healthy]), np.concatenate([np.array(after), healthy]))
    return found, {"cause": np.array([*names, *[""] * negatives])}


def test_counts_by_hand_and_the_worst_first() -> None:
    made, groups = calls({"bacteria": (200, 1, 1), "virus": (100, 2, 0)}, negatives=50)
    found = subgroups(made, groups, ValidateSpec())
    assert list(found) == ["cause=virus", "cause=bacteria"]
    virus, bacteria = found.values()
    assert (virus.films, virus.positives, virus.lost_positives, virus.gained_positives, virus.recall_loss_pt) == (100, 100, 2, 0, 2.0)
    assert (bacteria.recall_loss_pt, bacteria.specificity_loss_pt) == (0.0, None)
    # Two or more of 100 at a true loss of 1 %: 1 - .99^100 - 100 * .01 * .99^99.
    assert virus.limit_p == pytest.approx(1 - 0.99**100 - 0.99**99)
    assert virus.verdict == "pass"


def test_a_group_that_collapses_fails_while_the_mean_stays() -> None:
    made, groups = calls({"bacteria": (360, 0, 8), "virus": (30, 8, 0)})
    assert made.lost == made.gained
    found = subgroups(made, groups, ValidateSpec())
    assert {name: group.verdict for name, group in found.items()} == {"cause=virus": "fail", "cause=bacteria": "pass"}
    held = check(found, ValidateSpec())
    assert held.verdict == "fail"
    assert held.reason == "cause=virus loses 8 and gains 0 of 30 pneumonias, more than the limit and chance explain"
    assert held.value == pytest.approx(100 * 8 / 30)


def test_more_groups_need_more_evidence() -> None:
    alone, alone_groups = calls({"virus": (100, 4, 0)})
    many, many_groups = calls({"virus": (100, 4, 0), **{f"g{n}": (10, 0, 0) for n in range(9)}})
    assert subgroups(alone, alone_groups, ValidateSpec())["cause=virus"].verdict == "fail"  # p = .018
    assert subgroups(many, many_groups, ValidateSpec())["cause=virus"].verdict == "pass"  # against .005


def test_gained_ones_count_against_lost_ones_unless_the_loss_must_be_proven() -> None:
    made, groups = calls({"virus": (100, 6, 6)})
    assert subgroups(made, groups, ValidateSpec())["cause=virus"].verdict == "pass"
    assert subgroups(made, groups, ValidateSpec(mode="proven"))["cause=virus"].verdict == "fail"


def test_small_groups_say_what_they_cannot_see() -> None:
    made, groups = calls({"few": (3, 0, 0), "some": (40, 0, 0), "many": (1000, 0, 0)}, negatives=5)
    groups["batch"] = np.array([""] * 1043 + ["IM"] * 5)
    found = subgroups(made, groups, ValidateSpec())
    # At 1 %, level .05 / 3: two of three by chance: 3 * .01^2 = .0003; one of three .03.
    assert found["cause=few"].detectable_loss_pt == pytest.approx(100 * 2 / 3)
    assert found["cause=few"].warning == "3 positives: a loss below 67 points would not show"
    assert found["cause=many"].warning == ""
    assert found["batch=IM"].warning == "no positive film"
    assert found["batch=IM"].specificity_loss_pt == 0.0
    assert list(found)[-1] == "batch=IM"


def test_too_small_for_any_loss() -> None:
    made, groups = calls({"one": (1, 1, 0), "other": (1, 0, 0)})
    group = subgroups(made, groups, ValidateSpec(max_recall_loss_pt=5))["cause=one"]
    assert (group.verdict, group.detectable_loss_pt) == ("pass", None)
    assert group.warning == "1 positives: too few to say anything"


def test_without_groups_the_check_passes() -> None:
    held = check(subgroups(calls({"a": (5, 5, 0)})[0], {}, ValidateSpec()), ValidateSpec())
    assert (held.verdict, held.value, held.reason) == ("pass", None, "")
