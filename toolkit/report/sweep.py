"""What a sweep found, as one page."""

from __future__ import annotations

from collections.abc import Callable

from toolkit.core.sweeps import SweepPoint, SweepReport, SweepTrial
from toolkit.report.plots import BLUE, GREY, data_uri, figure_of, svg_of
from toolkit.report.render import render_html


def render_sweep(report: SweepReport) -> str:
    """One HTML file, nothing loaded from elsewhere."""
    pairs = [(trial, point) for trial in report.trials for point in trial.points]
    best = sorted((pair for pair in pairs if pair[1].pareto), key=lambda pair: pair[1].bytes)
    fields = list(dict.fromkeys(name for trial in report.trials for name in trial.values))
    return render_html("sweep.html", {"report": report, "best": best, "fields": fields, "plot": data_uri(_plot(pairs)) if pairs else None})


def _plot(pairs: list[tuple[SweepTrial, SweepPoint]]) -> bytes:
    """Recall over size and over latency; the Pareto set in colour, with the numbers of its runs."""
    figure = figure_of(7.6, 3.4)
    costs: tuple[tuple[str, Callable[[SweepPoint], float]], ...] = (
        ("MB", lambda one: one.bytes / 1e6),
        ("ms a film, median", lambda one: one.p50_ms),
    )
    for axes, (label, cost) in zip(figure.subplots(1, 2, sharey=True), costs, strict=True):
        for beaten, colour, name in ((True, GREY, "beaten"), (False, BLUE, "Pareto set")):
            chosen = [(trial, point) for trial, point in pairs if point.pareto is not beaten]
            axes.plot([cost(point) for _, point in chosen], [point.recall for _, point in chosen], "o", color=colour, label=name)
        for trial, point in pairs:
            if point.pareto:
                axes.annotate(str(trial.number), (cost(point), point.recall), xytext=(5, 4), textcoords="offset points", fontsize=8)
        axes.set(xlabel=label)
        axes.margins(0.12)
    figure.axes[0].set(ylabel="recall, held-out")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return svg_of(figure)
