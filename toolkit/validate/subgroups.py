"""A loss that hides in a group of films while the mean stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.core.drift import Check, Subgroup
from toolkit.core.recipe import ValidateSpec
from toolkit.data.groups import Groups
from toolkit.validate.intervals import CONFIDENCE, beyond_limit_p, upper_bound

Mask = NDArray[np.bool_]
WIDE_PT = 10  # a group in which only a greater loss would show is called too small


@dataclass(frozen=True)
class Calls:
    """Who is ill, and what both models call positive, `[N]` each."""

    sick: Mask
    before: Mask
    after: Mask

    def within(self, part: Mask) -> Calls:
        """Of some of the films."""
        return Calls(self.sick[part], self.before[part], self.after[part])

    @property
    def lost(self) -> int:
        """Positives that only the reference finds."""
        return int((self.sick & self.before & ~self.after).sum())

    @property
    def gained(self) -> int:
        """Positives that only the artifact finds."""
        return int((self.sick & ~self.before & self.after).sum())

    @property
    def positives(self) -> int:
        """Films with pneumonia."""
        return int(self.sick.sum())


def subgroups(calls: Calls, groups: Groups, spec: ValidateSpec) -> Mapping[str, Subgroup]:
    """Each group of each kind, named KIND=GROUP, the worst first; a group of one kind may overlap with one of another.

    A group fails when it lost more than the limit and chance does not explain that: an exact binomial test at 5 %, shared among the
    groups that have a positive (Bonferroni). Few positives vary much, so no group is held to the limit itself.
    """
    parts = {f"{kind}={name}": values == name for kind, values in groups.items() for name in np.unique(values[values != ""]).tolist()}
    tested = sum(bool((calls.sick & part).any()) for part in parts.values())
    level = (1 - CONFIDENCE) / max(1, tested)
    found = {name: _judged(calls.within(part), spec, level) for name, part in parts.items()}
    return dict(sorted(found.items(), key=lambda item: _worst_first(item[1])))


def check(found: Mapping[str, Subgroup], spec: ValidateSpec) -> Check:
    """The gate over all groups."""
    failed = {name: group for name, group in found.items() if group.verdict == "fail"}
    losses = [group.recall_loss_pt for group in found.values() if group.recall_loss_pt is not None]
    listed = "; ".join(
        f"{name} loses {group.lost_positives} and gains {group.gained_positives} of {group.positives} pneumonias"
        for name, group in failed.items()
    )
    return Check(
        name="subgroups",
        value=max(losses, default=None),
        limit=spec.max_recall_loss_pt,
        verdict="fail" if failed else "pass",
        reason=f"{listed}, more than the limit and chance explain" if failed else "",
    )


def _judged(calls: Calls, spec: ValidateSpec, level: float) -> Subgroup:
    positives, lost, gained = calls.positives, calls.lost, calls.gained
    healthy = calls.within(~calls.sick)
    counted = lost - gained if spec.mode == "observed" else lost
    p = beyond_limit_p(max(counted, 0), positives, spec.max_recall_loss_pt / 100) if positives else None
    detectable = _detectable_pt(positives, spec.max_recall_loss_pt / 100, level)
    return Subgroup(
        films=len(calls.sick),
        positives=positives,
        lost_positives=lost,
        gained_positives=gained,
        recall_loss_pt=100 * (lost - gained) / positives if positives else None,
        recall_loss_upper95_pt=100 * upper_bound(lost, positives) if positives else None,
        specificity_loss_pt=100 * float(healthy.after.mean() - healthy.before.mean()) if len(healthy.sick) else None,
        detectable_loss_pt=detectable,
        limit_p=p,
        verdict="fail" if p is not None and p < level else "pass",
        warning=_warning(positives, detectable),
    )


def _detectable_pt(positives: int, limit: float, level: float) -> float | None:
    """The least loss, in points, that would fail; None when even the loss of all would not."""
    for lost in range(1, positives + 1):
        if beyond_limit_p(lost, positives, limit) < level:
            return 100 * lost / positives
    return None


def _warning(positives: int, detectable: float | None) -> str:
    if not positives:
        return "no positive film"
    if detectable is None:
        return f"{positives} positives: too few to say anything"
    return f"{positives} positives: a loss below {detectable:.0f} points would not show" if detectable > WIDE_PT else ""


def _worst_first(group: Subgroup) -> tuple[bool, bool, float, float]:
    """Failed ones, then by loss of recall, then by loss of specificity; groups without a positive last."""
    return (
        group.verdict == "pass",
        group.recall_loss_pt is None,
        -(group.recall_loss_pt or 0.0),
        -(group.specificity_loss_pt or 0.0),
    )
