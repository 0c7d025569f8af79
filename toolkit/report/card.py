"""The model card that lies in a bundle as README.md: what it is for, from what it was made, what it was found to do, how to check that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.core.bundle import Manifest
from toolkit.core.drift import CorruptionCurve, DriftRow, Subgroup
from toolkit.core.latency import LatencyRow
from toolkit.core.reports import RunReport
from toolkit.report.render import environment

WORST = 5
MIDDLE = 3  # of five severities


def render_card(manifest: Manifest, report: RunReport) -> str:
    """Markdown. The drift of the recommended artifact is told film by film, that of the others as counts."""
    chosen = next((row for row in report.drift.rows if row.artifact in manifest.recommended[:1]), None)
    return (
        environment(autoescape=False)
        .get_template("card.md")
        .render(
            manifest=manifest,
            report=report,
            chosen=chosen,
            lost=lost_films(chosen),
            groups=worst_groups(chosen),
            curves=curves_of(report, chosen),
            fastest=fastest_rows(report),
            reasons={**manifest.unmeasured, **manifest.left_out},
            teacher=_teacher(report.recipe),
        )
    )


def lost_films(row: DriftRow | None) -> tuple[str, ...]:
    """The pneumonias that the dense network finds and this artifact misses, with both probabilities."""
    flips = row.flips if row else ()
    return tuple(f"`{flip.path}` ({flip.reference:.2f}, {flip.score:.2f})" for flip in flips if flip.change == "lost")


def worst_groups(row: DriftRow | None) -> tuple[tuple[str, Subgroup], ...]:
    """The groups of films that lost most, worst first as the report has them."""
    return tuple(row.subgroups.items())[:WORST] if row else ()


def curves_of(report: RunReport, row: DriftRow | None) -> tuple[tuple[CorruptionCurve, Any, Any], ...]:
    """The corruptions of one artifact, each with its points at middle and at full severity."""
    if row is None or report.drift.robustness is None:
        return ()
    own = (curve for curve in report.drift.robustness.curves if curve.artifact == row.artifact)
    return tuple((curve, curve.points[MIDDLE], curve.points[-1]) for curve in own)


def fastest_rows(report: RunReport) -> tuple[LatencyRow, ...]:
    """One film after another: of each artifact the number of threads with the least median."""
    best: dict[str, LatencyRow] = {}
    for row in report.latency.rows:
        if row.scenario == "single_stream" and (row.artifact not in best or row.p50_ms < best[row.artifact].p50_ms):
            best[row.artifact] = row
    return tuple(best.values())


def _teacher(recipe: Mapping[str, Any]) -> str | None:
    distill = recipe["train"].get("distill")
    return Path(distill["teacher"]).as_posix() if distill else None
