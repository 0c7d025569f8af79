"""The page and the card: self-contained, marked as synthetic, true to the run."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from toolkit.core.bundle import Bundle
from toolkit.core.codec import read_json
from toolkit.core.evaluation import Evaluation, OutsideBand
from toolkit.core.labels import Labels
from toolkit.core.metrics import Confusion, Curves
from toolkit.core.operating import Band, OperatingPoint
from toolkit.core.reports import Candidate, RunReport, Sensitivity
from toolkit.report import plots
from toolkit.report.card import render_card
from toolkit.report.render import render_explanation


class Links(HTMLParser):
    """Collects everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "data", "poster") and value:
                self.fetched.append(value)
                self.pictures += tag == "img"


def test_the_page_needs_nothing_beside_itself(finished_run: Path) -> None:
    links = Links()
    page = (finished_run / "report.html").read_text()
    links.feed(page)
    report = read_json(finished_run / "report.json", RunReport)
    flips = sum(min(len(row.flips), 6) for row in report.drift.rows)
    assert flips > 0
    assert links.pictures == 4 + len(report.drift.rows) + flips  # training, recovery, latency, corrupted films; scores; films
    assert all(re.match(r"data:image/(svg\+xml|png);base64,", link) for link in links.fetched)
    assert "url(" not in page
    assert "@import" not in page


def test_the_page_tells_what_the_run_found(finished_run: Path) -> None:
    page = re.sub(r"<[^>]+>", " ", (finished_run / "report.html").read_text())
    report = read_json(finished_run / "report.json", RunReport)
    assert "Synthetic films." in page
    assert report.bundle_sha256 in page
    for evaluation in (report.reference, *report.evaluations):
        assert evaluation.artifact in page
        assert f"{evaluation.recall:.3f}" in page
    assert f"use {report.recommended[0]}" in re.sub(r"\s+", " ", page)


def test_the_page_tells_what_pruning_brought_and_what_zeros_do_not(finished_run: Path) -> None:
    report = read_json(finished_run / "report.json", RunReport)
    assert report.pruning is not None
    page = re.sub(r"<[^>]+>", " ", (finished_run / "report.html").read_text())
    (step,) = report.pruning.steps
    assert f"{100 * step.sparsity:.1f}" in page
    assert str(step.parameters) in page
    for row in report.pruning.benefits:
        assert f"{row.p50_ms:.3f}" in page
        assert f"{row.faster_rounds} of {row.rounds}" in page
    assert "a runtime that does not look for them gains no time and no bytes on disk" in page


def test_a_pareto_plot_shows_what_each_candidate_loses() -> None:
    def one(size: int, ms: float, loss: float, *, passed: bool, pareto: bool = False) -> Candidate:
        return Candidate(kept={}, bytes=size, p50_ms=ms, recall_loss_pt=loss, roc_auc_loss=0.0, passed=passed, pareto=pareto)

    found = (one(1_000_000, 0.5, 0.25, passed=True, pareto=True), one(500_000, 0.3, 7.5, passed=False))
    picture = plots.pareto(found).decode()
    assert "0.25 pt" in picture
    assert "7.50 pt" not in picture  # it was dropped


def test_sensitivity_has_a_curve_for_each_layer() -> None:
    rows = [Sensitivity(layer=layer, ratio=ratio, kept=1, roc_auc_loss=ratio, recall_loss_pt=0.0) for layer in "ab" for ratio in (0.2, 0.8)]
    picture = plots.sensitivity(rows).decode()
    assert "<!-- a -->" in picture
    assert "<!-- b -->" in picture


def test_the_card_warns_and_states_the_figures(finished_run: Path) -> None:
    card = (finished_run / "bundle" / "README.md").read_text()
    manifest = Bundle(finished_run / "bundle").manifest
    assert "Trained and judged on synthetic films" in card
    assert "not a medical device" in card
    for artifact in manifest.artifacts:
        assert artifact.metrics is not None
        assert f"| {artifact.name} | {artifact.metrics.accuracy:.3f}" in card
    parts = ["Intended use", "Figures on", "Known failures", "Latency", "How it was made", "Check it again", "Data and licences"]
    assert [part for part in parts if f"## {part}" in card] == parts[: 7 if manifest.attribution else 6]


def test_the_card_tells_the_failures_of_the_recommended_artifact(finished_run: Path) -> None:
    card = (finished_run / "bundle" / "README.md").read_text()
    report = read_json(finished_run / "report.json", RunReport)
    chosen = next(row for row in report.drift.rows if row.artifact == report.recommended[0])
    own = next(one for one in report.evaluations if one.artifact == chosen.artifact)
    assert (
        f"misses {own.confusion.fn} of {own.confusion.positives} pneumonias\nand calls {own.confusion.fp} of {own.confusion.negatives} normal"
        in card
    )
    lost = [flip.path for flip in chosen.flips if flip.change == "lost"]
    assert len(lost) == chosen.lost_positives
    assert all(f"`{path}` (" in card for path in lost)
    assert report.drift.robustness is not None
    for curve in report.drift.robustness.curves:
        if curve.artifact == chosen.artifact:
            assert f"| {curve.corruption} | {curve.points[3].roc_auc:.3f} / {curve.points[3].roc_auc_reference:.3f} |" in card
    worst = next(iter(chosen.subgroups.items()))
    assert f"| {worst[0]} | {worst[1].films} | {worst[1].positives} | {worst[1].lost_positives} |" in card
    assert f"{report.films['train']['NORMAL']} NORMAL" in card


def test_the_card_states_what_the_band_of_uncertainty_does() -> None:
    band = Band(low=0.125, high=0.75, missed=0.01, false_alarms=0.005, unsure=0.0625, films=800)
    judged = msgspec.structs.replace(evaluation(), outside_band=OutsideBand(unsure=3, wrong_unsure=2, missed=1, false_alarms=0))
    sealed = Bundle(ROOT / "exported" / "custom-cnn").manifest
    banded, silent, unjudged = (
        msgspec.structs.replace(one, operating=OperatingPoint(threshold=0.5, band=point), metrics=metrics)
        for one, point, metrics in zip(sealed.artifacts, (band, None, band), (judged, evaluation(), None), strict=False)
    )
    report = read_json(ROOT / "exported" / "custom-cnn" / "report.json", RunReport)
    report = msgspec.structs.replace(report, latency=msgspec.structs.replace(report.latency, rows=()))
    card = render_card(msgspec.structs.replace(sealed, artifacts=(banded, silent, unjudged), recommended=(), recommended_for={}), report)
    assert f"| {banded.name} | 0.125 and 0.750 | 1.0 %, 0.5 %, 6.2 % | 3 of 10 | 2 | 1 of 4 | 0 of 6 |" in card
    assert card.count(" and 0.750 |") == 1
    assert "When it is unsure" not in render_card(
        msgspec.structs.replace(sealed, artifacts=(silent, unjudged), recommended=(), recommended_for={}), report
    )


def evaluation(synthetic: bool = False) -> Evaluation:
    """Ten films of which none was called: no precision, and everything else."""
    return Evaluation(
        artifact="szanet (torch)",
        n=10,
        threshold=0.8125,
        accuracy=0.6,
        recall=0.0,
        specificity=1.0,
        precision=None,
        f1=0.0,
        balanced_accuracy=0.5,
        roc_auc=0.875,
        confusion=Confusion(tp=0, fp=0, tn=6, fn=4),
        ci95={"accuracy": (0.3125, 0.832), "roc_auc": None},
        reason={"precision": "no film was called positive"},
        synthetic=synthetic,
        at_half={"accuracy": 0.7, "recall": 0.25, "precision": None},
    )


PNG = b"\x89PNG\r\n\x1a\n a film"


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.partition("</style>")[2]))


def test_an_explanation_states_each_metric_at_both_thresholds() -> None:
    shown = words(render_explanation(evaluation(), "szanet on 10 films", {}, {}))
    assert "called at a threshold of 0.812; beside it the same network at .5" in shown
    for row in (
        "accuracy 0.600 (0.312 to 0.832) 0.700",
        "recall 0.000 0.250",
        "specificity 1.000 -",
        "precision - (no film was called positive) -",
        "roc_auc 0.875 -",
    ):
        assert f" {row} " in shown, row


@pytest.mark.parametrize("synthetic", [True, False])
def test_an_explanation_of_synthetic_films_says_so(synthetic: bool) -> None:
    assert ("Synthetic films." in render_explanation(evaluation(synthetic), "title", {}, {})) is synthetic


def test_an_explanation_holds_its_pictures_whole() -> None:
    links = Links()
    links.feed(render_explanation(evaluation(), "title", {"ROC": b"<svg/>", "Training": b"<svg id='2'/>"}, {"test/a.png": PNG}))
    kinds = [link.partition(",")[0] for link in links.fetched]
    assert kinds == ["data:image/svg+xml;base64", "data:image/svg+xml;base64", "data:image/png;base64"]
    assert [base64.b64decode(link.partition(",")[2]) for link in links.fetched] == [b"<svg/>", b"<svg id='2'/>", PNG]


def test_names_of_films_are_no_markup() -> None:
    links = Links()
    page = render_explanation(evaluation(), "<b>title</b>", {"<i>": b"<svg/>"}, {'"><img src=http://away onerror="x': PNG})
    links.feed(page)
    assert all(link.startswith("data:image/") for link in links.fetched)
    assert links.pictures == 2
    assert "<b>" not in page
    assert "<i>" not in page


def test_curves_are_drawn_with_their_figures() -> None:
    points = np.array([[0, 0], [0, 0.5], [1, 1]])
    picture = plots.roc_and_precision_recall(Curves(points, points[:, ::-1], 0.8125), 0.75, (0.25, 0.5, 0.9)).decode()
    for text in ("AUC 0.750", "average precision 0.812", "operating point", "1 - specificity", "recall", "precision"):
        assert f"<!-- {text} -->" in picture, text


def test_a_confusion_matrix_shows_each_count_and_both_names() -> None:
    picture = plots.confusion_matrix(Confusion(tp=384, fp=41, tn=193, fn=6), Labels(positive="SICK")).decode()
    for text in ("384", "41", "193", "6", "NORMAL", "SICK", "called", "truth"):
        assert f"<!-- {text} -->" in picture, text
    # truth by row, from above: the count of false alarms lies right of the true negatives, and above the true positives
    places = {count: _place(picture, count) for count in ("193", "41", "6", "384")}
    assert places["193"][1] == places["41"][1] < places["6"][1] == places["384"][1]
    assert max(places["193"][0], places["6"][0]) < min(places["41"][0], places["384"][0])


def _place(picture: str, text: str) -> tuple[float, float]:
    """Where a text stands, in points from the left and from above, to the nearest ten."""
    found = re.search(rf"<!-- {text} -->\s*<g[^>]*translate\(([\d.]+) ([\d.]+)\)", picture)
    assert found is not None
    return round(float(found[1]), -1), round(float(found[2]), -1)


def test_maps_of_a_film_are_one_picture_with_a_panel_for_each() -> None:
    film, here = np.full((32, 32), 128, np.uint8), np.zeros((32, 32), np.float32)
    wide = [Image.open(io.BytesIO(plots.film_maps(film, dict.fromkeys("abc"[:count], here), "title"))).size for count in (1, 3)]
    assert wide[1][0] == pytest.approx(2 * wide[0][0], abs=2)  # four panels against two
    assert wide[0][1] == wide[1][1]
    plain = plots.film_maps(film, {"a": here}, "title")
    here = here.copy()
    here[20:, 20:] = 1
    assert plots.film_maps(film, {"a": here}, "title") != plain


def test_features_are_drawn_in_a_row_for_each_stage_and_a_column_for_each_method() -> None:
    places = {stage: {name: np.arange(8.0).reshape(4, 2) for name in ("PCA", "t-SNE")} for stage in ("before", "after")}
    picture = plots.embeddings(places, np.array([0, 1, 0, 1]), Labels(positive="SICK")).decode()
    titles = {(name, stage): _place(picture, f"{name}, {stage}") for stage in places for name in ("PCA", "t-SNE")}
    assert titles["PCA", "before"][1] == titles["t-SNE", "before"][1] < titles["PCA", "after"][1] == titles["t-SNE", "after"][1]
    assert max(titles["PCA", "before"][0], titles["PCA", "after"][0]) < min(titles["t-SNE", "before"][0], titles["t-SNE", "after"][0])
    assert picture.count("<!-- SICK -->") == 1
