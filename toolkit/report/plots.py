"""Plots: SVG bytes, PNG where films are shown; a page takes them as data URIs, so that it needs nothing beside itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from toolkit.core.labels import Labels
from toolkit.core.latency import LatencyReport
from toolkit.core.metrics import Confusion, Curves, FloatArray, LabelArray
from toolkit.core.reports import Candidate, Sensitivity
from toolkit.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f5fa8", "#d9792b", "#8a8f98"


def training_curves(rows: Sequence[Mapping[str, float]], title: str) -> bytes:
    """Loss on train and held-out films, and the held-out AUC on a second axis, by epoch."""
    figure = figure_of(5.2, 3.0)
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
    return svg_of(figure)


def latency_bars(report: LatencyReport) -> bytes:
    """Median milliseconds a film, one film at a time, by artifact and thread count."""
    rows = [row for row in report.rows if row.scenario == "single_stream"]
    threads = sorted({row.threads for row in rows})
    names = list(dict.fromkeys(row.artifact for row in rows))
    figure = figure_of(6.4, 0.9 + 0.3 * len(names) * max(1, len(threads)))
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
    return svg_of(figure)


def pareto(candidates: Sequence[Candidate]) -> bytes:
    """Size and latency of each candidate of a search; those that no other beats are joined, dropped ones are crosses."""
    figure = figure_of(6.4, 3.6)
    axes = figure.subplots()
    dropped = [one for one in candidates if not one.passed]
    beaten = [one for one in candidates if one.passed and not one.pareto]
    best = sorted((one for one in candidates if one.pareto), key=lambda one: one.bytes)
    for chosen, mark, colour, label in ((dropped, "x", GREY, "dropped"), (beaten, "o", GREY, "passed"), (best, "o-", BLUE, "Pareto set")):
        axes.plot([one.bytes / 1e6 for one in chosen], [one.p50_ms for one in chosen], mark, color=colour, label=label)
    for one in best:
        text = f"{one.recall_loss_pt:.2f} pt"
        axes.annotate(text, (one.bytes / 1e6, one.p50_ms), xytext=(7, -10), textcoords="offset points", fontsize=8)
    axes.margins(0.12)
    axes.set(xlabel="MB, float ONNX", ylabel="ms a film, median", title="Candidates, and the points of recall that they lose")
    axes.legend(frameon=False, fontsize=8)
    return svg_of(figure)


def sensitivity(rows: Sequence[Sensitivity]) -> bytes:
    """A curve for each layer: the AUC on held-out patients that is lost when the layer alone is pruned."""
    layers = list(dict.fromkeys(row.layer for row in rows))
    figure = figure_of(7.2, max(3.4, 0.6 + 0.17 * len(layers)))
    axes = figure.subplots()
    from matplotlib import colormaps

    for number, layer in enumerate(layers):
        found = [row for row in rows if row.layer == layer]
        colour = colormaps["viridis"](number / max(1, len(layers) - 1))  # from the first layer to the last
        axes.plot([row.ratio for row in found], [row.roc_auc_loss for row in found], ".-", color=colour, label=layer)
    axes.set(xlabel="share of the layer that goes", ylabel="AUC lost, held-out", title="One layer pruned alone, not fine-tuned")
    axes.axhline(0, color=GREY, linewidth=0.8)
    figure.legend(loc="outside right upper", frameon=False, fontsize=7)
    return svg_of(figure)


def roc_and_precision_recall(found: Curves, area: float, threshold: tuple[float, float, float]) -> bytes:
    """Both curves side by side; `threshold` is (1 - specificity, recall, precision) at the operating point."""
    figure = figure_of(7.6, 3.4)
    left, right = figure.subplots(1, 2)
    false_positive, recall, precision = threshold
    left.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    left.plot(*found.roc.T, color=BLUE, label=f"AUC {area:.3f}")
    left.plot(false_positive, recall, "o", color=ORANGE, label="operating point")
    left.set(xlabel="1 - specificity", ylabel="recall", title="ROC")
    right.plot(*found.precision_recall.T, color=BLUE, label=f"average precision {found.average_precision:.3f}")
    right.plot(recall, precision, "o", color=ORANGE, label="operating point")
    right.set(xlabel="recall", ylabel="precision", title="Precision and recall", ylim=(0, 1.03))
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8, loc="lower left" if axes is right else "lower right")
    return svg_of(figure)


def confusion_matrix(table: Confusion, labels: Labels) -> bytes:
    """Counts of films, truth by row, call by column."""
    counts = [[table.tn, table.fp], [table.fn, table.tp]]
    figure = figure_of(3.6, 3.2)
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues", vmin=0, vmax=max(map(max, counts)) * 1.4)
    for row, values in enumerate(counts):
        for column, value in enumerate(values):
            axes.text(column, row, str(value), ha="center", va="center", fontsize=13)
    axes.set_xticks((0, 1), labels.names)
    axes.set_yticks((0, 1), labels.names, rotation=90, va="center")
    axes.set(xlabel="called", ylabel="truth")
    return svg_of(figure)


def embeddings(places: Mapping[str, Mapping[str, FloatArray]], truth: LabelArray, labels: Labels) -> bytes:
    """A row for each stage ('before the network', ...), a column for each method; films coloured by their class."""
    methods = list(next(iter(places.values())))
    figure = figure_of(3.6 * len(methods), 3.3 * len(places))
    grid = figure.subplots(len(places), len(methods), squeeze=False)
    for row, (stage, found) in zip(grid, places.items(), strict=True):
        for axes, method in zip(row, methods, strict=True):
            for number, colour in ((0, BLUE), (1, ORANGE)):
                axes.scatter(*found[method][truth == number].T, s=7, color=colour, alpha=0.6, linewidths=0, label=labels.names[number])
            axes.set(title=f"{method}, {stage}", xticks=(), yticks=())
    grid[0][0].legend(frameon=False, fontsize=8)
    return svg_of(figure)


def film_maps(film: FloatArray, maps: Mapping[str, FloatArray], title: str) -> bytes:
    """PNG: the film `[H, W]`, and each map `[H, W]` in [0, 1] laid over it, with one scale bar."""
    figure = figure_of(2.6 * (1 + len(maps)), 3.0)
    axes = figure.subplots(1, 1 + len(maps))
    for place, (name, values) in zip(axes, {"film": None, **maps}.items(), strict=True):
        place.imshow(film, cmap="gray", vmin=0, vmax=255)
        if values is not None:
            shown = place.imshow(values, cmap="inferno", alpha=0.45, vmin=0, vmax=1)
        place.set_title(name, fontsize=9)
        place.set_axis_off()
    figure.colorbar(shown, ax=axes, shrink=0.7, label="least to most")
    figure.suptitle(title, fontsize=9)
    return png_of(figure, 90)


def data_uri(picture: bytes) -> str:
    """An SVG or PNG for the `src` of an image."""
    kind = "png" if picture.startswith(b"\x89PNG") else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def figure_of(width: float, height: float) -> Figure:
    """A figure of its own: no backend is chosen, no global state is touched."""
    try:
        from matplotlib.figure import Figure
    except ImportError as cause:
        raise MissingDependencyError("matplotlib", "workshop", "Drawing a report") from cause
    return Figure(figsize=(width, height), layout="constrained")


def svg_of(figure: Figure) -> bytes:
    """Equal figures give equal bytes: matplotlib would draw names at random."""
    from matplotlib import rc_context

    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "cxr-edge"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def png_of(figure: Figure, dots_per_inch: int) -> bytes:
    """The same for pixels."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return stream.getvalue()
