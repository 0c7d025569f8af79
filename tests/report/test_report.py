"""The page and the card: self-contained, marked as synthetic, true to the run."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from toolkit.core.bundle import Bundle
from toolkit.core.codec import read_json
from toolkit.core.reports import RunReport


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
    assert links.pictures == 3
    assert all(link.startswith("data:image/svg+xml;base64,") for link in links.fetched)
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


def test_the_card_warns_and_states_the_figures(finished_run: Path) -> None:
    card = (finished_run / "bundle" / "README.md").read_text()
    manifest = Bundle(finished_run / "bundle").manifest
    assert "Trained and judged on synthetic films" in card
    assert "not a medical device" in card
    for artifact in manifest.artifacts:
        assert artifact.metrics is not None
        assert f"| {artifact.name} | {artifact.metrics.accuracy:.3f}" in card
