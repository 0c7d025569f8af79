"""Fills the templates: `page.html` for a run, `card.md` for a bundle, those of checkpoints and machines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from toolkit.core.bundle import Manifest
from toolkit.core.evaluation import Evaluation
from toolkit.core.reports import RunReport
from toolkit.errors import MissingDependencyError
from toolkit.report.plots import data_uri, latency_bars, pareto, training_curves

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent
SHOWN = ("accuracy", "recall", "specificity", "precision", "f1", "balanced_accuracy", "roc_auc")


class DriftPictures(NamedTuple):
    """PNG or SVG bytes: a plot of scores for each artifact, a film for each (artifact, path) that changed sides, corrupted films."""

    scores: Mapping[str, bytes] = {}
    flips: Mapping[tuple[str, str], bytes] = {}
    corruptions: bytes | None = None


def render_page(report: RunReport, manifest: Manifest, pictures: DriftPictures) -> str:
    """One HTML file, nothing loaded from elsewhere."""
    curves = {stage: data_uri(training_curves(rows, stage)) for stage, rows in report.history.items() if rows}
    p50 = {artifact.name: artifact.p50_ms for artifact in manifest.artifacts}
    return (
        environment(autoescape=True)
        .get_template("page.html")
        .render(
            report=report,
            manifest=manifest,
            p50=p50,
            curves=curves,
            latency_plot=data_uri(latency_bars(report.latency)),
            pareto_plot=data_uri(pareto(report.pruning.candidates)) if report.pruning and report.pruning.candidates else None,
            drift={row.artifact: row for row in report.drift.rows},
            score_plots={name: data_uri(picture) for name, picture in pictures.scores.items()},
            flips={key: data_uri(picture) for key, picture in pictures.flips.items()},
            corruption_plot=data_uri(pictures.corruptions) if pictures.corruptions else None,
            engines=[artifact.name for artifact in manifest.artifacts if any(file.path.endswith(".engine") for file in artifact.files)],
        )
    )


def render_explanation(evaluation: Evaluation, title: str, pictures: Mapping[str, bytes], films: Mapping[str, bytes]) -> str:
    """One HTML file of what a checkpoint says of films: `pictures` by their caption, `films` (maps) by the film's name."""
    shown = {caption: data_uri(picture) for caption, picture in pictures.items()}
    panels = {name: data_uri(picture) for name, picture in films.items()}
    return (
        environment(autoescape=True)
        .get_template("explanation.html")
        .render(evaluation=evaluation, title=title, pictures=shown, films=panels, metrics=SHOWN)
    )


def render_html(template: str, values: Mapping[str, Any]) -> str:
    """One HTML file from a template of this folder; every value is escaped."""
    return environment(autoescape=True).get_template(template).render(values)


def value_and_bounds(evaluation: Evaluation, metric: str) -> tuple[str, str]:
    """('.921', '.897 to .940'); a dash and the reason when there is no value."""
    value, bounds = getattr(evaluation, metric), evaluation.ci95.get(metric)
    if value is None:
        return "-", evaluation.reason.get(metric, "no support")
    return three(value), f"{three(bounds[0])} to {three(bounds[1])}" if bounds else ""


def with_interval(evaluation: Evaluation, metric: str) -> str:
    """'.921 (.897 to .940)' in one line."""
    value, bounds = value_and_bounds(evaluation, metric)
    return f"{value} ({bounds})" if bounds else value


def three(value: float | None) -> str:
    """Three decimals; a dash for None."""
    return "-" if value is None else f"{value:.3f}"


def two(value: float | None) -> str:
    """Two decimals; a dash for None."""
    return "-" if value is None else f"{value:.2f}"


def environment(autoescape: bool) -> Environment:
    """The templates of this folder, with the filters that figures are written by; raises MissingDependencyError."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as cause:
        raise MissingDependencyError("jinja2", "workshop", "Writing a report") from cause
    environment = Environment(
        loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, autoescape=autoescape, trim_blocks=True, lstrip_blocks=True
    )
    filters: dict[str, Any] = {
        "three": three,
        "interval": with_interval,
        "parts": value_and_bounds,
        "mb": lambda size: f"{size / 1e6:.2f}",
        "two": two,
    }
    environment.filters.update(filters)
    return environment
