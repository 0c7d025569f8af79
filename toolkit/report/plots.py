"""Plots as data URIs of SVG pictures: the page needs nothing beside itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from toolkit.core.reports import LatencyReport
from toolkit.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f5fa8", "#d9792b", "#8a8f98"


def training_curves(rows: Sequence[Mapping[str, float]], title: str) -> str:
    """Loss on train and held-out films, and the held-out AUC on a second axis, by epoch."""
    figure = _figure(5.2, 3.0)
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots()
    epochs = [row["epoch"] for row in rows]
    axes.plot(epochs, [row["train_loss"] for row in rows], color=GREY, marker=".", label="loss, train")
    axes.plot(epochs, [row["holdout_loss"] for row in rows], color=BLUE, marker=".", label="loss, held-out")
    axes.set(xlabel="epoch", ylabel="weighted loss", title=title, xlim=(0.5, len(rows) + 0.5), ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    right = axes.twinx()
    right.plot(epochs, [row["holdout_auc"] for row in rows], color=ORANGE, marker=".", label="AUC, held-out")
    right.set(ylabel="AUC", ylim=(0.5, 1.0))
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return _data_uri(figure)


def latency_bars(report: LatencyReport) -> str:
    """Median milliseconds a film, one film at a time, by artifact and thread count."""
    rows = [row for row in report.rows if row.scenario == "single_stream"]
    threads = sorted({row.threads for row in rows})
    names = list(dict.fromkeys(row.artifact for row in rows))
    figure = _figure(6.4, 0.9 + 0.3 * len(names) * max(1, len(threads)))
    axes = figure.subplots()
    height = 0.8 / max(1, len(threads))
    for shift, count in enumerate(threads):
        chosen = [row for row in rows if row.threads == count]
        places = [names.index(row.artifact) + (shift - (len(threads) - 1) / 2) * height for row in chosen]
        colour = (BLUE, ORANGE, GREY)[shift % 3]
        bars = axes.barh(places, [row.p50_ms for row in chosen], height * 0.9, color=colour, label=f"{count} thread{'s' * (count > 1)}")
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel="ms a film, median, model alone")
    if threads:
        axes.legend(frameon=False, fontsize=8)
    return _data_uri(figure)


def _figure(width: float, height: float) -> Figure:
    """A figure of its own: no backend is chosen, no global state is touched."""
    try:
        from matplotlib.figure import Figure
    except ImportError as cause:
        raise MissingDependencyError("matplotlib", "workshop", "Drawing a report") from cause
    return Figure(figsize=(width, height), layout="constrained")


def _data_uri(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()
