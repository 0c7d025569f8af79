"""The page as a person meets it: opened by Chromium, pictures drawn, tables filled, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.in_browser import chromium, needs_chromium
from toolkit.core.codec import read_json
from toolkit.core.reports import RunReport

pytestmark = needs_chromium
EMPTY_PICTURES = "() => [...document.images].filter(i => !i.complete || i.naturalWidth < 20).map(i => i.alt)"
UNSEEN_TABLES = "() => [...document.querySelectorAll('table')].filter(t => t.rows.length < 2).length"


@pytest.fixture(scope="module")
def opened(finished_run: Path) -> Iterator[tuple[Page, list[str], list[str]]]:
    """The page of the run, what it asked for, and what it complained of."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((finished_run / "report.html").as_uri(), wait_until="load")
        yield page, asked, complaints


def test_no_request_leaves_the_page(opened: tuple[Page, list[str], list[str]], finished_run: Path) -> None:
    _, asked, complaints = opened
    assert asked[0] == (finished_run / "report.html").as_uri()
    assert [url[:60] for url in asked[1:] if not url.startswith("data:image/")] == []
    assert complaints == []


def test_every_picture_is_drawn_and_every_table_filled(opened: tuple[Page, list[str], list[str]]) -> None:
    page, _, _ = opened
    assert page.evaluate("document.images.length") > 4
    assert page.evaluate(EMPTY_PICTURES) == []
    assert page.evaluate(UNSEEN_TABLES) == 0


def test_a_person_sees_the_drift_of_each_artifact(opened: tuple[Page, list[str], list[str]], finished_run: Path) -> None:
    page, _, _ = opened
    report = read_json(finished_run / "report.json", RunReport).drift
    assert page.locator("h2#drift").is_visible()
    for row in report.rows:
        assert page.get_by_role("row", name=row.artifact).first.is_visible()
        details = page.locator("details", has_text=f"{row.artifact}: {len(row.flips)} of {report.n}")
        if details.get_attribute("open") is None:
            details.locator("summary").click()
        for flip in row.flips[:6]:
            assert details.locator(f'img[alt^="{flip.path}"]').is_visible()
    assert page.locator("img[alt^='Scores of']").count() == len(report.rows)


def test_a_narrow_screen_scrolls_its_tables_not_the_page(opened: tuple[Page, list[str], list[str]]) -> None:
    page, _, _ = opened
    page.set_viewport_size({"width": 420, "height": 800})
    wide = page.evaluate("[...document.querySelectorAll('.wide')].filter(box => box.scrollWidth > box.clientWidth).length")
    assert wide > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
