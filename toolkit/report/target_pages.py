"""Writes the comparison of machines: `targets/index.html` and a page for each machine, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.core.files import write_atomically
from toolkit.core.latency import LatencyRow
from toolkit.core.reports import ComparedTarget, TargetComparison
from toolkit.report import target_plots
from toolkit.report.plots import data_uri
from toolkit.report.render import render_html
from toolkit.report.target_facts import energy, facts, interval, milliseconds
from toolkit.report.target_files import INDEX, Opened, read_all
from toolkit.report.targets import Measured, best_rows, compared, uncertain


def write_pages(run: Opened) -> TargetComparison:
    """Read all reports of the run, write every page whole; raises StorageError when the disk refuses."""
    measured, left_out = read_all(run)
    found = [compared(one, run.bundle.manifest) for one in measured]
    comparison = TargetComparison(
        bundle=run.bundle.manifest.name,
        bundle_sha256=run.bundle.sha256,
        synthetic=run.report.synthetic,
        targets=tuple(found),
        left_out=left_out,
    )
    pages = {target.name: render_target(run, one, target) for one, target in zip(measured, found, strict=True)}
    pages[INDEX] = render_comparison(run, measured, comparison)
    for name, page in pages.items():
        write_atomically(run.targets / f"{name}.html", page)
    for name in {Path(file).stem for file in left_out} - pages.keys():  # an earlier page would recommend what no longer holds
        (run.targets / f"{name}.html").unlink(missing_ok=True)
    return comparison


def render_target(run: Opened, measured: Measured, target: ComparedTarget) -> str:
    """One machine: what to use, its facts, every row, four plots."""
    rows = () if measured.emulator else measured.latency.rows
    shown = {
        **_of_run(run),
        "target": target,
        "measured": measured,
        "facts": facts(measured, target.points),
        "uncertain": uncertain(target.points),
        "rows": rows,
        "figure": milliseconds,
        "interval": interval,
        "energy": energy,
        "plots": {} if measured.emulator else _plots(measured, target),
    }
    return render_html("target.html", shown)


def render_comparison(run: Opened, measured: Sequence[Measured], comparison: TargetComparison) -> str:
    """All machines side by side; emulators apart, without their times."""
    pairs = [(one, target) for one, target in zip(measured, comparison.targets, strict=True) if not one.emulator]
    sheets = {target.name: facts(one, target.points) for one, target in pairs}
    machines = [target for _, target in pairs]
    plots = {
        "Each artifact on each machine": (target_plots.side_by_side(machines), "Fewer than two machines were measured."),
        "What each machine would use": (target_plots.distribution(_chosen_lanes(pairs)), "No machine has an artifact to use."),
    }
    shown = {
        **_of_run(run),
        "machines": machines,
        "sheets": sheets,
        "names": list(next(iter(sheets.values()), {})),
        "emulators": [(one, target) for one, target in zip(measured, comparison.targets, strict=True) if one.emulator],
        "left_out": comparison.left_out,
        "plots": _drawn(plots),
    }
    return render_html("targets.html", shown)


def _of_run(run: Opened) -> dict[str, object]:
    manifest = run.bundle.manifest
    return {"bundle": manifest.name, "model": manifest.model, "sha256": run.bundle.sha256, "report": run.report}


def _plots(measured: Measured, target: ComparedTarget) -> dict[str, tuple[str | None, str]]:
    """By title: a data URI, or None and why nothing is drawn."""
    rows = measured.latency.rows
    lanes = [(_lane_name(name, row), row) for name, row in best_rows(rows).items()]
    return _drawn(
        {
            "Latency distribution": (target_plots.distribution(lanes), "Nothing was timed one film at a time."),
            "Latency, recall loss, size": (target_plots.trade(target.points), "No artifact has both a time and a recall loss here."),
            "Threads and batches": (target_plots.scaling(rows), "Only one thread count and no two batches were measured."),
            "While it ran": (target_plots.drift_in_time(measured), "The report does not hold times along the run; newer ones do."),
        }
    )


def _drawn(plots: Mapping[str, tuple[bytes | None, str]]) -> dict[str, tuple[str | None, str]]:
    return {title: (data_uri(picture) if picture else None, missing) for title, (picture, missing) in plots.items()}


def _chosen_lanes(pairs: Sequence[tuple[Measured, ComparedTarget]]) -> list[tuple[str, LatencyRow]]:
    """The row that each machine would use, named by machine and artifact."""
    found = []
    for one, target in pairs:
        if target.artifact:
            row = best_rows(one.latency.rows)[target.artifact]
            found.append((f"{target_plots.label(target.device, target.name)}\n{_lane_name(target.artifact, row)}", row))
    return found


def _lane_name(artifact: str, row: LatencyRow) -> str:
    return f"{target_plots.label(artifact)}, {row.threads} thread{'s' * (row.threads > 1)}"
