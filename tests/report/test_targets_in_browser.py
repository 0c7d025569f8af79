"""Pages of machines as a person meets them: opened by Chromium, pictures drawn, links followed, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.in_browser import Seen, chromium, needs_chromium
from tests.report.machines import full_latency, full_reports, host, make_run
from tests.report.test_in_browser import EMPTY_PICTURES, UNSEEN_TABLES
from toolkit.core.codec import encode_json
from toolkit.report.target_files import add, open_run
from toolkit.report.target_pages import write_pages

pytestmark = needs_chromium
PICTURES = {"index": 2, "own-machine": 4, "raspberry-pi-5": 4, "old": 2, "board": 0, "x-script-alert-x-1-script-2j": 2}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("targets")
    sha256 = make_run(place / "run", full_latency(1.0, host("Xeon"), 2))
    run = open_run(place / "run")
    files = [place / name for name in full_reports(sha256)]
    for file, report in zip(files, full_reports(sha256).values(), strict=True):
        file.write_bytes(encode_json(report))
    add(run, files)
    write_pages(run)
    return run.targets


def opened(browser: Browser, path: Path) -> Seen:
    """A page, what it asked for, and what it complained of."""
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    seen = Seen(page, [], [])
    page.on("request", lambda request: seen.asked.append(request.url))
    page.on("console", lambda message: seen.complaints.append(message.text))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("dialog", lambda dialog: seen.complaints.append(dialog.message))
    page.goto(path.as_uri(), wait_until="load")
    return seen


@pytest.mark.parametrize("name", PICTURES)
def test_no_request_leaves_and_every_picture_is_drawn(browser: Browser, folder: Path, name: str) -> None:
    seen = opened(browser, folder / f"{name}.html")
    assert seen.asked[0] == (folder / f"{name}.html").as_uri()
    assert [url[:60] for url in seen.asked[1:] if not url.startswith("data:image/")] == []
    assert seen.complaints == []
    assert seen.page.evaluate("document.images.length") == PICTURES[name]
    assert seen.page.evaluate(EMPTY_PICTURES) == []
    assert seen.page.evaluate(UNSEEN_TABLES) == 0
    seen.page.close()


def test_a_person_goes_from_the_comparison_to_a_machine_and_back(browser: Browser, folder: Path) -> None:
    page = opened(browser, folder / "index.html").page
    page.get_by_role("link", name="Raspberry Pi 5").click()
    assert page.get_by_role("heading", name="Raspberry Pi 5").is_visible()
    assert page.get_by_text("On this machine, use openvino-int8").first.is_visible()
    page.get_by_role("link", name="All machines").click()
    assert page.get_by_role("heading", name="brightness: machines compared").is_visible()
    page.close()


@pytest.mark.parametrize("name", ["index", "raspberry-pi-5"])
def test_a_narrow_screen_scrolls_its_tables_not_the_page(browser: Browser, folder: Path, name: str) -> None:
    page = opened(browser, folder / f"{name}.html").page
    page.set_viewport_size({"width": 420, "height": 800})
    assert page.evaluate("[...document.querySelectorAll('.wide')].filter(box => box.scrollWidth > box.clientWidth).length") > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    page.close()
