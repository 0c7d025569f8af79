"""Pages of machines: one each and a comparison, self-contained, true to the reports, names from outside no markup."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.report.machines import FP32, HOSTILE, device, full_latency, full_reports, host, latency, make_run, row
from toolkit.core.codec import encode_json
from toolkit.core.reports import TargetComparison
from toolkit.errors import MissingDependencyError
from toolkit.report.target_files import add, open_run
from toolkit.report.target_pages import write_pages

NAMES = {
    "own-machine",
    "board",
    "busy-pc",
    "dell-laptop-of-the-ward",
    "old",
    "raspberry-pi-5",
    "thin-client",
    "x-script-alert-x-1-script-2j",
}


class Page(HTMLParser):
    """What a browser would fetch, where links lead, which tags and texts there are."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href", "data", "poster") and value:
                (self.links if tag == "a" else self.fetched).append(value)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RUN/targets with every kind of machine."""
    place = tmp_path_factory.mktemp("targets")
    sha256 = make_run(place / "run", full_latency(1.0, host("Xeon"), 2))
    run = open_run(place / "run")
    files = []
    for name, report in full_reports(sha256).items():
        files.append(place / name)
        files[-1].write_bytes(encode_json(report))
    add(run, files)
    write_pages(run)
    return run.targets


@pytest.fixture(scope="module")
def comparison(folder: Path) -> TargetComparison:
    return write_pages(open_run(folder.parent))


def test_there_is_a_page_for_each_machine_and_one_for_all(folder: Path) -> None:
    assert {path.stem for path in folder.glob("*.html")} == NAMES | {"index"}
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("name", sorted(NAMES | {"index"}))
def test_a_page_needs_nothing_beside_itself_and_runs_nothing(folder: Path, name: str) -> None:
    page = Page(folder / f"{name}.html")
    assert all(link.startswith("data:image/svg+xml;base64,") for link in page.fetched)
    assert not page.tags & {"script", "iframe", "object", "link", "form"}
    for link in page.links:
        assert (folder / link).is_file(), link
    text = (folder / f"{name}.html").read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text


def test_the_comparison_leads_to_each_page_and_says_what_to_use(folder: Path, comparison: TargetComparison) -> None:
    page = Page(folder / "index.html")
    assert set(page.links) == {f"./{name}.html" for name in NAMES}
    for target in comparison.targets:
        assert (target.line in page.words) is (target.emulator is None)
        assert target.line in Page(folder / f"{target.name}.html").words
    assert comparison.targets[0].name == "own-machine"


def test_an_emulators_times_stand_nowhere(folder: Path) -> None:
    page = Page(folder / "board.html")
    assert page.fetched == []
    assert not re.search(r"\d ms\b", page.words)
    assert "times of an emulator, not compared" in page.words
    index = Page(folder / "index.html").words
    assert re.search(r"board \(Cortex-A53, imitated by qemu-aarch64 8\.2\): every artifact passed on 40 films", index)
    assert "90.00 ms" not in index


def test_a_page_shows_four_plots_and_every_row(folder: Path, comparison: TargetComparison) -> None:
    page = Page(folder / "raspberry-pi-5.html")
    assert len(page.fetched) == 4
    assert "Not drawn" not in page.words
    for fact in (
        "cold start",
        "0.90 s, at most 1.40 s in 5 runs",
        "41, then 78",
        "yes, its counter rose by 6",
        "no sensor of energy here",
        "a.png",
    ):
        assert fact in page.words
    assert page.words.count("single stream") == 9  # three artifacts with 1, 2 and 4 threads
    assert page.words.count("offline") == 6 + 1  # two batches each, and the note


def test_an_older_report_says_what_is_not_drawn(folder: Path) -> None:
    page = Page(folder / "old.html")
    assert len(page.fetched) == 2  # distribution and trade
    assert "Only one thread count and no two batches were measured." in page.words
    assert "The report does not hold times along the run" in page.words
    assert "the report does not name its bundle" in page.words


def test_disturbed_rows_are_marked(folder: Path) -> None:
    text = (folder / "busy-pc.html").read_text(encoding="utf-8")
    assert text.count('class="disturbed"') == 1
    assert "another process took 0.8 of a core" in text


def test_a_failing_device_says_why_nothing_is_to_be_used(folder: Path, comparison: TargetComparison) -> None:
    page = Page(folder / "thin-client.html")
    assert "On this machine, use none" in page.words
    assert "lost 3.20 points of recall, limit 1" in page.words
    assert "its clock is wrong" in page.words
    assert next(one for one in comparison.targets if one.name == "thin-client").artifact is None


def test_names_from_outside_are_no_markup(folder: Path) -> None:
    for name in ("index", "x-script-alert-x-1-script-2j"):
        text = (folder / f"{name}.html").read_text(encoding="utf-8")
        assert "<script" not in text
        assert "<img src=http" not in text
        assert "\x1b" not in text
    shown = HOSTILE.replace("\x1b", r"\x1b")
    assert shown in "".join(Page(folder / "x-script-alert-x-1-script-2j.html").texts)


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_films_are_marked_on_every_page(tmp_path: Path, synthetic: bool) -> None:
    make_run(tmp_path / "run", latency(row(FP32, 4.0)), synthetic=synthetic)
    write_pages(open_run(tmp_path / "run"))
    for page in (tmp_path / "run" / "targets").glob("*.html"):
        assert ("Synthetic films." in page.read_text()) is synthetic


def test_a_bundle_that_was_made_on_an_emulator_compares_nothing(tmp_path: Path) -> None:
    make_run(tmp_path / "run", full_latency(1.0, host(emulator="qemu"), 2))
    (only,) = write_pages(open_run(tmp_path / "run")).targets
    assert only.artifact is None
    page = Page(tmp_path / "run" / "targets" / "index.html")
    assert page.fetched == []
    assert "No machine has an artifact to use." in page.words


@pytest.mark.parametrize("package", ["jinja2", "matplotlib.figure"])
def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    make_run(tmp_path / "run", latency(row(FP32, 4.0)))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"cxr-edge\[workshop\]"):
        write_pages(open_run(tmp_path / "run"))
    assert not (tmp_path / "run" / "targets").exists()


def test_files_that_are_not_shown_are_named_and_lose_their_page(tmp_path: Path) -> None:
    make_run(tmp_path / "run", latency(row(FP32, 4.0)))
    (tmp_path / "run" / "targets").mkdir()
    (tmp_path / "run" / "targets" / "stale.json").write_bytes(encode_json(device("A", latency(row(FP32, 1.0)), "e" * 64)))
    (tmp_path / "run" / "targets" / "stale.html").write_text("an earlier page")
    assert set(write_pages(open_run(tmp_path / "run")).left_out) == {"stale.json"}
    assert not (tmp_path / "run" / "targets" / "stale.html").exists()
    assert "was measured with another bundle" in Page(tmp_path / "run" / "targets" / "index.html").words
