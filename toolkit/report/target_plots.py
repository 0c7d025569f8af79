"""Plots of machines: latency distribution, latency against recall loss and size, thread scaling, drift while running; all side by side.

Each gives SVG bytes, or None where the reports hold nothing to draw: the page then says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from toolkit.core.latency import LatencyRow, State
from toolkit.core.reports import ComparedTarget, TargetPoint
from toolkit.report.plots import BLUE, GREY, ORANGE, figure_of, svg_of
from toolkit.report.targets import Measured, best_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.4
LONGEST = 34  # letters of a label
LOGARITHMIC_BEYOND = 12.0  # a scale whose ends are so many times apart
AREA_PER_MB = 22.0
LEAST_PART, LEAST_PT = 0.08, 0.6
COLOURS = (BLUE, ORANGE, "#2a8a57", "#8a3fa0", "#b3261e", "#0f8b9d", "#7a5a2c", "#d0478f", "#5b6673", "#9a9a00")
LETTER_POINTS, LINE_POINTS, BESIDE_POINTS = 4.9, 12.0, 8.0
STEPS = tuple(sign * step for step in range(16, 160, 12) for sign in (1, -1))


class Spot(NamedTuple):
    """A point that can be placed."""

    point: TargetPoint
    ms: float
    loss_pt: float


class Field(NamedTuple):
    """What a curve shows of rows: a count across, a figure up, and which of two figures is the better one."""

    across: str
    up: str
    best: Callable[[float, float], float]
    xlabel: str
    ylabel: str


class Box(NamedTuple):
    """A rectangle, in points of the page."""

    left: float
    low: float
    width: float
    height: float

    def covers(self, other: Box) -> bool:
        """True when they share some of the page."""
        across = self.left < other.left + other.width and other.left < self.left + self.width
        return across and self.low < other.low + other.height and other.low < self.low + self.height


def distribution(lanes: Sequence[tuple[str, LatencyRow]]) -> bytes | None:
    """A lane for each named row: how often each time was met where a histogram is there; p50, p90 and p99 marked."""
    if not lanes:
        return None
    figure = figure_of(WIDTH, 0.9 + 0.48 * len(lanes))
    axes = figure.subplots()
    for place, (_, row) in enumerate(lanes):
        _lane(axes, place, row)
    for mark, name in (("|", "p50"), (".", "p90"), ("x", "p99")):
        axes.plot([], [], mark, color=ORANGE, label=name)
    axes.set_yticks(range(len(lanes)), [name for name, _ in lanes])
    axes.set_ylim(len(lanes) - 0.4, -0.9)
    _scale(axes, [value for _, row in lanes for value in (row.p50_ms, row.p99_ms or row.p90_ms or row.p50_ms)])
    axes.set(xlabel="ms a film, model alone, one film at a time")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return svg_of(figure)


def trade(points: Sequence[TargetPoint]) -> bytes | None:
    """Latency against recall loss, area as bytes; usable points that no other beats are joined, those not to be used are crosses."""
    spots = [Spot(one, one.p50_ms, one.recall_loss_pt) for one in points if one.p50_ms is not None and one.recall_loss_pt is not None]
    if not spots:
        return None
    figure = figure_of(WIDTH, 4.0 + 0.14 * len(spots))
    axes = figure.subplots()
    best = sorted((spot for spot in spots if spot.point.pareto), key=lambda spot: spot.ms)
    axes.plot([spot.ms for spot in best], [spot.loss_pt for spot in best], "-", color=BLUE, linewidth=1, zorder=1)
    for spot in spots:
        mark, colour, alpha = _look(spot.point)
        area = AREA_PER_MB * max(spot.point.bytes / 1e6, 0.4)
        axes.scatter([spot.ms], [spot.loss_pt], s=area, marker=mark, color=colour, alpha=alpha, linewidths=1)
    for mark, colour, name in (
        ("o", BLUE, "Pareto set: none beats it"),
        ("o", GREY, "beaten"),
        ("x", GREY, "not to be used"),
    ):
        axes.plot([], [], mark, color=colour, label=name)
    axes.margins(0.16, 0.3)
    _open(axes, sum(spot.loss_pt for spot in spots) / len(spots), LEAST_PT)
    _scale(axes, [spot.ms for spot in spots])
    axes.set(xlabel="ms a film, median, model alone", ylabel="recall loss, points")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    _name(figure, axes, spots)
    return svg_of(figure)


def scaling(rows: Sequence[LatencyRow]) -> bytes | None:
    """p50 by thread count, and films a second by batch with the most threads; a field only where there are several counts."""
    single = [row for row in rows if row.scenario == "single_stream"]
    most = max((row.threads for row in rows), default=0)
    many = [row for row in rows if row.threads == most]
    fields: list[tuple[list[LatencyRow], Field]] = []
    if len({row.threads for row in single}) > 1:
        fields.append((single, Field("threads", "p50_ms", min, "threads", "ms a film, median")))
    if len({row.batch for row in many}) > 2:
        words = f"films in a batch, {most} thread{'s' * (most > 1)}"
        fields.append((many, Field("batch", "images_per_s", max, words, "films/s")))
    if not fields:
        return None
    figure = figure_of(WIDTH, 3.2 + _legend_height(len({row.artifact for row in rows})))
    for axes, (found, field) in zip(figure.subplots(1, len(fields), squeeze=False).flat, fields, strict=True):
        _curves(axes, found, field)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return svg_of(figure)


def drift_in_time(measured: Measured) -> bytes | None:
    """The median of each part of the runs against that of all of them: above 1 it ran slower. Temperatures around it in the title."""
    rows = [row for row in best_rows(measured.latency.rows).values() if len(row.trace_ms) > 1]
    if not rows:
        return None
    figure = figure_of(WIDTH, 3.2 + _legend_height(len(rows)))
    axes = figure.subplots()
    axes.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
    for number, row in enumerate(rows):
        parts = len(row.trace_ms)
        places = [100 * (part + 0.5) / parts for part in range(parts)]
        values = [value / row.p50_ms for value in row.trace_ms]
        axes.plot(places, values, _line(number), color=_colour(number), linewidth=1.2, label=f"{label(row.artifact)}, {row.p50_ms:.2f} ms")
    axes.set(xlabel="share of the runs, %", ylabel="time, as a part of the median", xlim=(0, 100), title=_temperatures(measured))
    _open(axes, 1, LEAST_PART)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return svg_of(figure)


def side_by_side(targets: Sequence[ComparedTarget]) -> bytes | None:
    """A line for each artifact, with a mark for each machine that timed it, filled where it is usable there."""
    timed = [[(one, one.p50_ms) for one in target.points if one.p50_ms is not None] for target in targets]
    names = list(dict.fromkeys(one.artifact for found in timed for one, _ in found))
    if len(targets) < 2 or not names:
        return None
    figure = figure_of(WIDTH, 1.4 + 0.32 * len(names) + 0.2 * len(targets))
    axes = figure.subplots()
    for number, (target, found) in enumerate(zip(targets, timed, strict=True)):
        colour = _colour(number)
        places = [names.index(one.artifact) + 0.5 * ((number + 0.5) / len(targets) - 0.5) for one, _ in found]
        faces = [colour if one.usable else "none" for one, _ in found]
        axes.scatter([ms for _, ms in found], places, s=42, edgecolors=[colour] * len(found), facecolors=faces)
        axes.plot([], [], "o", color=colour, label=label(target.device, target.name))
    axes.set_yticks(range(len(names)), [label(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    _scale(axes, [ms for found in timed for _, ms in found])
    axes.grid(axis="y", alpha=0.25)
    axes.set(xlabel="ms a film, median, model alone; hollow: not to be used there")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return svg_of(figure)


def label(text: str, instead: str = "") -> str:
    """A name for a plot: no formula, not too long, `instead` where the plots' font lacks letters of it."""
    if not (text.isprintable() and all(ord(letter) < 0x250 for letter in text)):
        text = instead or text.encode("ascii", "replace").decode()
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return short.replace("$", r"\$").lstrip("_")  # matplotlib leaves names with an underscore out of a legend


def _lane(axes: Axes, place: int, row: LatencyRow) -> None:
    edges, counts = row.histogram_edges_ms, row.histogram_counts
    top = max(mark for mark in (row.p50_ms, row.p90_ms, row.p99_ms) if mark is not None)
    axes.plot([row.p50_ms, top], [place, place], color=GREY, linewidth=1)
    if counts and len(edges) == len(counts) + 1 and max(counts) > 0:
        heights = [place - 0.8 * count / max(counts) for count in counts]
        axes.stairs(heights, edges, baseline=place, fill=True, color=BLUE, alpha=0.35)
    for value, mark in ((row.p50_ms, "|"), (row.p90_ms, "."), (row.p99_ms, "x")):
        if value is not None:
            axes.plot([value], [place], mark, color=ORANGE, markersize=8)


def _curves(axes: Axes, rows: Sequence[LatencyRow], field: Field) -> None:
    """A curve for each artifact, its best value at each count."""
    names = list(dict.fromkeys(row.artifact for row in rows))
    values = [getattr(row, field.up) for row in rows]
    for number, name in enumerate(names):
        best: dict[int, float] = {}
        for row in (row for row in rows if row.artifact == name):
            at, value = getattr(row, field.across), getattr(row, field.up)
            best[at] = field.best(value, best.get(at, value))
        axes.plot(sorted(best), [best[at] for at in sorted(best)], _line(number), color=_colour(number), label=label(name))
    ticks = sorted({getattr(row, field.across) for row in rows})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set(xlabel=field.xlabel, ylabel=field.ylabel)
    if not _spread(axes, "y", values):
        axes.set_ylim(0, None)


def _look(point: TargetPoint) -> tuple[str, str, float]:
    """Marker, colour and opacity."""
    return ("o", BLUE if point.pareto else GREY, 0.55) if point.usable else ("x", GREY, 1.0)


def _name(figure: Figure, axes: Axes, spots: Sequence[Spot]) -> None:
    """Write each name and size near its point, above or below it, where they cover neither a point nor another name."""
    figure.draw_without_rendering()
    points_per_pixel = 72 / figure.dpi
    places = {spot: axes.transData.transform((spot.ms, spot.loss_pt)) * points_per_pixel for spot in spots}
    taken = [Box(along - BESIDE_POINTS, up - BESIDE_POINTS, 2 * BESIDE_POINTS, 2 * BESIDE_POINTS) for along, up in places.values()]
    field = axes.bbox
    room = Box(*(float(edge) * points_per_pixel for edge in (field.x0, field.y0, field.width, field.height)))
    for spot in sorted(spots, key=lambda spot: (spot.ms, spot.loss_pt)):
        text = f"{label(spot.point.artifact)}, {spot.point.bytes / 1e6:.1f} MB"
        along, up = places[spot]
        box = _free(along, up, LETTER_POINTS * len(text), room, taken)
        taken.append(box)
        offset = (box.left - along, box.low - up)
        line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6}
        axes.annotate(text, (spot.ms, spot.loss_pt), xytext=offset, textcoords="offset points", fontsize=8, arrowprops=line)


def _free(along: float, up: float, width: float, room: Box, taken: Sequence[Box]) -> Box:
    """The nearest place for a name that is free; the nearest of all where none is."""
    sides = (along + BESIDE_POINTS, along - BESIDE_POINTS - width, along - width / 2)
    lefts = [max(room.left, min(side, room.left + room.width - width)) for side in sides]
    boxes = [Box(left, up + step, width, LINE_POINTS) for step in STEPS for left in lefts]
    inside = [box for box in boxes if room.low <= box.low <= room.low + room.height - LINE_POINTS]
    return next((box for box in inside if not any(box.covers(other) for other in taken)), boxes[0])


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Milliseconds across."""
    _spread(axes, "x", values)


def _spread(axes: Axes, side: str, values: Sequence[float]) -> bool:
    """A logarithmic axis with plain numbers where the values are far apart; True when it is one."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    if max(values) <= LOGARITHMIC_BEYOND * min(values):
        return False
    axes.set(**{f"{side}scale": "log"})
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    return True


def _legend_height(names: int) -> float:
    """Inches for a legend in three columns."""
    return 0.2 * -(-names // 3)


def _open(axes: Axes, middle: float, least: float) -> None:
    """No smaller a range than `least` on both sides of the middle: noise is not to look like a difference."""
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, middle - least), max(high, middle + least))


def _temperatures(measured: Measured) -> str:
    before, after = measured.latency.before or State(), measured.latency.after or State()
    if before.temperature_c is None or after.temperature_c is None:
        return "The machine does not tell its temperature"
    return f"Hottest sensor: {before.temperature_c:.0f} °C before, {after.temperature_c:.0f} °C after"


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _line(number: int) -> str:
    """A broken line where the colours come round again."""
    return ".-" if number < len(COLOURS) else ".--"
