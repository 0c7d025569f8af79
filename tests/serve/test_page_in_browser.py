"""The page as a person meets it in Chromium: by mouse, by keyboard, on a phone, with a token; and as a browser of 2019 would read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import make_bundle
from tests.in_browser import Seen, chromium, needs_chromium
from tests.serve.conftest import TOKEN, Server, film_bytes, running
from toolkit.core.bundle import Bundle, write_manifest
from toolkit.core.operating import Band, OperatingPoint
from toolkit.serve.page import FILE

DROP = """bytes => {
  const held = new DataTransfer();
  held.items.add(new File([new Uint8Array(bytes)], 'dropped.png'));
  return held;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A synthetic bundle with a band of uncertainty, behind a token."""
    folder = tmp_path_factory.mktemp("marked")
    bundle = make_bundle(folder / "bundle")
    manifest = Bundle(bundle).manifest
    band = Band(low=0.4, high=0.7, missed=0.01, false_alarms=0.01, unsure=0.1, films=100)
    artifacts = tuple(msgspec.structs.replace(one, operating=OperatingPoint(threshold=0.5, band=band)) for one in manifest.artifacts)
    provenance = msgspec.structs.replace(manifest.provenance, synthetic=True)
    write_manifest(bundle, msgspec.structs.replace(manifest, artifacts=artifacts, provenance=provenance))
    with running(bundle, folder / "server", token=TOKEN) as started:
        yield started


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for level in (118, 129, 138):
        (folder / f"{level}.png").write_bytes(film_bytes(level))
    (folder / "notes.txt").write_text("no film")
    return folder


@pytest.fixture
def opened(browser: Browser, server: Server) -> Iterator[Seen]:
    yield from seen(browser, server)


@pytest.fixture
def opened_with_token(browser: Browser, marked: Server) -> Iterator[Seen]:
    yield from seen(browser, marked)


def seen(browser: Browser, server: Server) -> Iterator[Seen]:
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    found = Seen(page, [], [])
    page.on("request", lambda request: found.asked.append(request.url))
    page.on("console", lambda message: found.complaints.append(message.text))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    # A browser without a window has no chooser unless somebody listens, and `expect_file_chooser` alone begins to too late.
    page.on("filechooser", lambda _: None)
    page.goto(f"http://127.0.0.1:{server.port}/", wait_until="networkidle")
    yield found
    page.close()


@needs_chromium
def test_a_film_is_chosen_and_all_is_shown(opened: Seen, films: Path) -> None:
    page = opened.page
    page.get_by_label("A chest film").set_input_files(films / "138.png")
    page.get_by_role("button", name="Judge this film").click()
    expect(page.locator("#decision")).to_have_text("PNEUMONIA")
    expect(page.locator("#probability")).to_have_text("0.731")
    expect(page.locator("#threshold")).to_contain_text("0.500")
    expect(page.locator("#name")).to_have_text("138.png")
    picture = page.get_by_role("img", name="coloured where something speaks for PNEUMONIA")
    expect(picture).to_be_visible()
    assert picture.evaluate("one => one.decode().then(() => one.naturalWidth)") > 400
    for words in ("gives no diagnosis", "not a medical device", "Not the chance that this patient is ill", "Have it read first"):
        expect(page.get_by_text(words).first).to_be_visible()
    expect(page.locator("#synthetic")).to_be_hidden()
    expect(page.locator("#token-field")).to_be_hidden()


@needs_chromium
def test_nothing_is_asked_of_anybody_else_and_the_policy_holds(opened: Seen, films: Path, server: Server) -> None:
    page = opened.page
    page.set_input_files("#film", films / "118.png")
    page.click("#send")
    expect(page.locator("#decision")).to_have_text("NORMAL")
    page.evaluate("document.getElementById('picture').decode()")
    own = f"http://127.0.0.1:{server.port}/"
    assert [url for url in opened.asked if not url.startswith((own, "data:image/png;base64,", "data:,"))] == []
    assert {url.removeprefix(own) for url in opened.asked if url.startswith(own)} == {"", "model", "predict?heatmap=true"}
    assert opened.complaints == []
    page.evaluate("document.body.appendChild(Object.assign(document.createElement('script'), {textContent: 'window.foreign = 1'}))")
    assert page.evaluate("window.foreign") is None


@needs_chromium
def test_the_keyboard_suffices_and_each_stop_is_seen(opened: Seen, films: Path) -> None:
    page = opened.page
    stops = []
    for _ in range(3):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert stops == ["film", "heat", "send"]
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_have_text("Choose a film first.")
    assert page.evaluate("document.activeElement.id") == "film"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(films / "138.png")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#decision")).to_have_text("PNEUMONIA")
    expect(page.locator("#map")).to_be_hidden()


@needs_chromium
def test_a_film_is_dropped(opened: Seen) -> None:
    held = opened.page.evaluate_handle(DROP, list(film_bytes(138)))
    opened.page.dispatch_event("#drop", "dragover", {"dataTransfer": held})
    assert "over" in (opened.page.get_attribute("#drop", "class") or "")
    opened.page.dispatch_event("#drop", "drop", {"dataTransfer": held})
    expect(opened.page.locator("#decision")).to_have_text("PNEUMONIA")
    expect(opened.page.locator("#name")).to_have_text("dropped.png")


@needs_chromium
def test_what_is_no_film_is_rejected_in_words_and_another_choice_takes_the_old_result_away(opened: Seen, films: Path) -> None:
    page = opened.page
    page.set_input_files("#film", films / "notes.txt")
    page.click("#send")
    expect(page.locator("#decision")).to_have_text("REJECTED")
    expect(page.locator("#meaning")).to_contain_text("The file is not a picture")
    expect(page.locator("#map")).to_be_hidden()
    page.set_input_files("#film", films / "118.png")
    expect(page.locator("#judged")).to_be_hidden()
    expect(page.locator("#said")).to_have_text("118.png is chosen and has not been judged yet.")


@needs_chromium
def test_a_server_that_is_full_or_gone_is_told(opened: Seen, films: Path) -> None:
    page = opened.page
    page.set_input_files("#film", films / "118.png")
    full = {"status": 429, "headers": {"Retry-After": "3"}, "json": {"error": "All 2 places are taken; send the film again in 3 s."}}
    page.route("**/predict*", lambda route: route.fulfill(**full))  # type: ignore[arg-type]
    page.click("#send")
    expect(page.locator("#said")).to_contain_text("send the film again in 3 s")
    expect(page.locator("#send")).to_be_enabled()
    page.unroute("**/predict*")
    page.route("**/predict*", lambda route: route.abort())
    page.click("#send")
    expect(page.locator("#said")).to_contain_text("Is the server running?")
    page.unroute("**/predict*")
    page.click("#send")
    expect(page.locator("#decision")).to_have_text("NORMAL")


@needs_chromium
def test_a_token_is_asked_for_and_a_synthetic_bundle_and_an_uncertain_film_are_marked(opened_with_token: Seen, films: Path) -> None:
    page = opened_with_token.page
    expect(page.get_by_label("Token of this server")).to_be_visible()
    page.set_input_files("#film", films / "129.png")
    page.click("#send")
    expect(page.locator("#said")).to_contain_text("The token is missing or wrong")
    page.fill("#token", TOKEN)
    page.click("#send")
    expect(page.locator("#decision")).to_have_text("UNCERTAIN")
    expect(page.locator("#meaning")).to_contain_text("A person has to decide.")
    expect(page.get_by_role("alert")).to_contain_text("SYNTHETIC")


@needs_chromium
def test_a_phone_shows_it_without_scrolling_aside(opened: Seen, films: Path) -> None:
    page = opened.page
    page.set_viewport_size({"width": 320, "height": 640})
    page.set_input_files("#film", films / "138.png")
    page.click("#send")
    expect(page.locator("#decision")).to_have_text("PNEUMONIA")
    page.evaluate("document.getElementById('picture').decode()")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.evaluate("document.getElementById('send').getBoundingClientRect().height") >= 44


@needs_chromium
def test_controls_have_labels_and_the_result_is_spoken(opened: Seen) -> None:
    page = opened.page
    unlabelled = "[...document.querySelectorAll('input')].filter(one => one.labels.length === 0).map(one => one.id)"
    assert page.evaluate(unlabelled) == []
    assert page.get_attribute("#result", "aria-live") == "polite"
    assert page.get_attribute("html", "lang") == "en"


TEXT = FILE.read_text(encoding="utf-8")
SCRIPT = re.findall(r"<script>(.*?)</script>", TEXT, re.DOTALL)[0]
STYLE = re.findall(r"<style>(.*?)</style>", TEXT, re.DOTALL)[0]
AFTER_2017 = (r"\?\.", r"\?\?", r"\.\.\.", r"catch \{", r"\.finally\(", r"for await", r"\.flat(Map)?\(", r"\.at\(", r"replaceAll", r"matchAll",
              r"fromEntries", r"globalThis", r"\d_\d", r"#\w+ =", r"allSettled", r"BigInt", r"static \{", r"import\(")  # fmt: skip
AFTER_2019 = ("focus-visible", "inset", "clamp(", "min(", "max(", "aspect-ratio", ":is(", ":where(", ":has(", "gap", "@layer", "@container",
              "accent-color", "dvh", "color-mix", "oklch", "text-wrap")  # fmt: skip


@pytest.mark.parametrize("pattern", AFTER_2017)
def test_the_script_has_no_syntax_younger_than_es2017(pattern: str) -> None:
    assert not re.search(pattern, SCRIPT)


@pytest.mark.parametrize("word", AFTER_2019)
def test_the_style_has_no_rule_younger_than_2019(word: str) -> None:
    assert word not in STYLE


def test_the_page_is_one_file_without_handlers_in_its_tags_or_addresses_of_others() -> None:
    assert not re.search(r"<[^>]* on\w+=|javascript:|<[^>]* style=", TEXT)
    assert not re.search(r"(https?:)?//[a-z]", TEXT.replace("</", ""))
    assert re.findall(r'(?:src|href)="([^"]+)"', TEXT) == ["data:,"]
