"""Plots of the drift part of a report: scores before and after, reliability, films that changed sides, corrupted films."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.core.calibration import bins
from toolkit.core.drift import CorruptionCurve
from toolkit.core.metrics import FloatArray, LabelArray
from toolkit.report.plots import BLUE, GREY, ORANGE, figure_of, png_of, svg_of

COLUMNS = 4


class Model(NamedTuple):
    """A model's probabilities `[N]` and its threshold."""

    name: str
    probability: FloatArray
    threshold: float


def scores(labels: LabelArray, reference: Model, artifact: Model) -> bytes:
    """PNG: each film's probability before and after, and how often films of a probability are positive; `labels` 0 or 1 `[N]`."""
    figure = figure_of(7.6, 3.5)
    left, right = figure.subplots(1, 2)
    for number, colour, label in ((0, BLUE, "negative"), (1, ORANGE, "positive")):
        part = labels == number
        left.scatter(reference.probability[part], artifact.probability[part], s=9, color=colour, alpha=0.6, linewidths=0, label=label)
    left.axvline(reference.threshold, color=GREY, linewidth=0.8, linestyle="--")
    left.axhline(artifact.threshold, color=GREY, linewidth=0.8, linestyle="--")
    left.set(xlabel="dense", ylabel=artifact.name, title="Probability of each film", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    right.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    for model, colour, label in ((reference, GREY, "dense"), (artifact, BLUE, artifact.name)):
        found = bins(labels, model.probability)
        right.plot([one.probability for one in found], [one.positive for one in found], ".-", color=colour, label=label)
    right.set(
        xlabel="probability, mean of a tenth", ylabel="share that is positive", title="Reliability", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02)
    )
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    return png_of(figure, 80)


def flip(film: NDArray[np.uint8], maps: Mapping[str, NDArray[np.float32] | None]) -> bytes:
    """PNG: a film `[H, W]`, and beside it each heat map `[h, w]` in [0, 1] laid over it; None is a graph that gives none."""
    figure = figure_of(1.35 * (1 + len(maps)), 1.55)
    axes = figure.subplots(1, 1 + len(maps), subplot_kw={"xticks": (), "yticks": ()})  # else they are laid out, and not shown
    height, width = film.shape
    for place, (name, values) in zip(axes, {"film": None, **maps}.items(), strict=True):
        place.imshow(film, cmap="gray", vmin=0, vmax=255)
        if values is not None:
            place.imshow(
                values, cmap="inferno", alpha=0.45, vmin=0, vmax=1, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="bilinear"
            )
        place.set_title(name if values is not None or name == "film" else f"{name}: no map", fontsize=7)
        place.set_axis_off()
    return png_of(figure, 80)


def corruptions(curves: Sequence[CorruptionCurve]) -> bytes:
    """SVG: a field for each corruption, AUC by severity, the reference and each artifact."""
    kinds = list(dict.fromkeys(curve.corruption for curve in curves))
    rows = -(-len(kinds) // COLUMNS)
    figure = figure_of(2.5 * COLUMNS, 2.1 * rows + 0.4)
    fields = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True)
    names = list(dict.fromkeys(curve.artifact for curve in curves))
    from matplotlib import colormaps

    for field, kind in zip(fields.flat, kinds, strict=False):
        found = {curve.artifact: curve for curve in curves if curve.corruption == kind}
        for number, name in enumerate(names):
            points = found[name].points
            colour = colormaps["viridis"](number / max(1, len(names)))
            field.plot([point.severity for point in points], [point.roc_auc for point in points], color=colour, linewidth=1.2, label=name)
        points = found[names[0]].points
        field.plot([point.severity for point in points], [point.roc_auc_reference for point in points], "k--", linewidth=1.4, label="dense")
        field.set_title(kind, fontsize=9)
    for field in list(fields.flat)[len(kinds) :]:
        field.set_axis_off()
    figure.supxlabel("severity", fontsize=9)
    figure.supylabel("AUC", fontsize=9)
    handles, labels = fields[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    return svg_of(figure)
