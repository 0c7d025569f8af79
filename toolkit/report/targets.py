"""Which artifact a machine should use, from what was measured on it: verdicts, the fastest row, the Pareto set, one line in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from toolkit.core.bundle import Artifact, Manifest
from toolkit.core.drift import DriftReport
from toolkit.core.evaluation import Verdict
from toolkit.core.latency import LatencyReport, LatencyRow
from toolkit.core.reports import ComparedTarget, Judged, TargetPoint
from toolkit.core.target import processor_family


class Measured(NamedTuple):
    """A machine and what was measured on it; `name` is that of its files. `drift`: of films that it scored itself, if it did."""

    name: str
    device: str
    latency: LatencyReport
    taken: str = ""
    drift: DriftReport | None = None
    unusable: Mapping[str, str] = {}
    problems: tuple[str, ...] = ()

    @property
    def emulator(self) -> str | None:
        """What imitates this processor; then no time that was taken means anything."""
        return self.latency.host.emulator


class Judgement(NamedTuple):
    """A verdict, whose it is, what it found, and why the artifact is not to be used; empty when it may be."""

    verdict: Verdict | None
    judged: Judged
    loss_pt: float | None
    upper95_pt: float | None
    reason: str = ""


def compared(measured: Measured, manifest: Manifest) -> ComparedTarget:
    """What a comparison states of one machine."""
    found = points(measured, manifest.artifacts)
    best = None if measured.emulator else chosen(found)
    return ComparedTarget(
        name=measured.name,
        device=measured.device,
        taken=measured.taken,
        processor=measured.latency.host.processor,
        emulator=measured.emulator,
        line=line(measured, found),
        artifact=best.artifact if best else None,
        points=found,
        problems=measured.problems,
    )


def points(measured: Measured, artifacts: Sequence[Artifact]) -> tuple[TargetPoint, ...]:
    """One point for each artifact of a bundle, those that no other beats marked. An emulator's have no times."""
    found = tuple(_point(measured, artifact) for artifact in artifacts)
    best = pareto(found)
    return tuple(msgspec.structs.replace(point, pareto=point.artifact in best) for point in found)


def best_rows(rows: Sequence[LatencyRow]) -> dict[str, LatencyRow]:
    """By artifact, the fastest row of one film at a time, in the order of the report; a disturbed row only where no other is there."""
    best: dict[str, LatencyRow] = {}
    for row in rows:
        if row.scenario == "single_stream":
            best[row.artifact] = min(best.get(row.artifact, row), row, key=lambda one: (bool(one.disturbed), one.p50_ms, one.threads))
    return best


def pareto(found: Sequence[TargetPoint]) -> set[str]:
    """Names of the usable points that no usable one beats: not worse in latency, bytes and recall loss, and better in one of them."""
    costs = {
        one.artifact: (one.p50_ms, one.bytes, one.recall_loss_pt)
        for one in found
        if one.usable and one.p50_ms is not None and one.recall_loss_pt is not None
    }
    return {
        name
        for name, cost in costs.items()
        if not any(other != cost and all(a <= b for a, b in zip(other, cost, strict=True)) for other in costs.values())
    }


def chosen(found: Sequence[TargetPoint]) -> TargetPoint | None:
    """The fastest usable point, of equal ones the smallest. What else a machine does only slows down: one that is the fastest although it
    was disturbed is so all the more."""
    usable = [point for point in found if point.usable and point.p50_ms is not None]
    return min(usable, key=lambda one: (one.p50_ms, bool(one.disturbed), one.bytes, one.artifact), default=None)


def line(measured: Measured, found: Sequence[TargetPoint]) -> str:
    """'On this machine, use X: ...', or why there is nothing to use."""
    if measured.emulator:
        return f"This is no machine but an emulator ({measured.emulator}): times of an emulator, not compared."
    best = chosen(found)
    if best is None:
        reasons = "; ".join(f"{point.artifact} {point.reason}" for point in found) or "the bundle is empty"
        return f"On this machine, use none: {reasons}."
    mark = (
        f" It was disturbed while it was timed, so this time is too long rather than too short: {best.disturbed}." if best.disturbed else ""
    )
    return f"On this machine, use {best.artifact}: {_latency(best)}, {best.bytes / 1e6:.2f} MB, {_loss(best)}.{mark}"


def uncertain(found: Sequence[TargetPoint]) -> str:
    """A sentence on usable artifacts that were disturbed, and that may be faster than the chosen one; empty when there is none."""
    best = chosen(found)
    others = [one for one in found if one.usable and one.disturbed and one is not best]
    told = "; ".join(f"{one.artifact} ({_figure(one.p50_ms)} ms, {one.disturbed})" for one in others)
    return f"Disturbed while timed, so perhaps faster than it looks: {told}." if told else ""


def _point(measured: Measured, artifact: Artifact) -> TargetPoint:
    row = None if measured.emulator else best_rows(measured.latency.rows).get(artifact.name)
    judgement = judge(measured, artifact)
    reason = judgement.reason or ("" if row else _why_untimed(measured, artifact.name))
    return TargetPoint(
        artifact=artifact.name,
        bytes=artifact.bytes,
        threads=row.threads if row else None,
        p50_ms=row.p50_ms if row else None,
        end_to_end_p50_ms=row.end_to_end_p50_ms if row else None,
        disturbed=row.disturbed if row else "",
        verdict=judgement.verdict,
        judged=judgement.judged,
        recall_loss_pt=judgement.loss_pt,
        recall_loss_upper95_pt=judgement.upper95_pt,
        usable=not reason,
        reason=reason,
    )


def judge(measured: Measured, artifact: Artifact) -> Judgement:
    """The device's own verdict where it scored films, the sealed one elsewhere; a fail of either speaks against the artifact.

    A few films on a device prove little, so they cannot clear what failed when the bundle was sealed. The sealed verdict holds only on
    processors that the form is for.
    """
    gate = artifact.drift
    if measured.drift is not None:
        return _judged_there(measured.drift, artifact)
    if gate is None:
        return Judgement(None, "nowhere", None, None, "was never held against the dense network, neither when it was sealed nor here")
    host = measured.latency.host
    reason = "" if artifact.passed else _sealed_fail(gate.recall_loss_pt, gate.limit_pt)
    if not reason and not artifact.target.serves(processor_family(host.machine, host.features)):
        reason = f"is for {artifact.target.processors}, and no films were scored here that would show that it is right on this processor"
    return Judgement(gate.verdict, "sealed", gate.recall_loss_pt, gate.recall_loss_upper95_pt, reason)


def _judged_there(drift: DriftReport, artifact: Artifact) -> Judgement:
    row = next((row for row in drift.rows if row.artifact == artifact.name), None)
    if row is None:
        why = drift.skipped.get(artifact.name, "it has no scores of this device")
        return Judgement(None, "nowhere", None, None, f"was not judged here: {why}")
    reason = ""
    if row.verdict == "fail":
        reason = f"failed on the films that this device scored: {row.reason.get('verdict') or _lost(row.recall_loss_pt, row.limit_pt)}"
    elif artifact.drift is not None and not artifact.passed:
        reason = _sealed_fail(artifact.drift.recall_loss_pt, artifact.drift.limit_pt)
    return Judgement(row.verdict, "device", row.recall_loss_pt, row.recall_loss_upper95_pt, reason)


def _sealed_fail(loss: float | None, limit: float) -> str:
    return f"failed its gate when it was sealed: {_lost(loss, limit)}"


def _lost(loss: float | None, limit: float) -> str:
    return f"recall loss {_figure(loss)} points, limit {limit:g}"


def _why_untimed(measured: Measured, name: str) -> str:
    if measured.emulator:
        return "was timed by an emulator alone"
    found = next((skip.reason for skip in measured.latency.skipped if skip.artifact == name), "")
    return f"was not timed here: {found.rstrip('.')}" if found else "was not timed here"


def _latency(point: TargetPoint) -> str:
    threads = f"{point.threads} thread{'s' * (point.threads != 1)}"
    if point.end_to_end_p50_ms is not None:
        return f"{point.end_to_end_p50_ms:.2f} ms a film from file to answer ({threads})"
    return f"{_figure(point.p50_ms)} ms a film, model alone without reading the file ({threads})"


def _loss(point: TargetPoint) -> str:
    if point.recall_loss_pt is None:
        return "recall loss not known"
    return f"recall loss {point.recall_loss_pt:.2f} points (at most {_figure(point.recall_loss_upper95_pt)})"


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
