"""Every command of README.md is run; those of the other documents exist, with the options that they name."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.conftest import KERMANY, ROOT, TINY, call_cli
from toolkit.cli.main import cli

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK = (
    "preprocessing.size_px=64",
    "train.epochs=1",
    "train.distill=null",  # its teacher looks at films of 224 pixels; tests/train/test_teacher.py has one
    "prune={method: structured, target: {ratio: 0.5}, recovery: {epochs: 1, learning_rate: 1e-3}}",
    "quantize.ladder=[]",
    "export.artifacts=[onnxruntime-fp32, openvino-fp32]",
    *(value for value in TINY if value.split("=")[0] in ("quantize.calibration_films", "export.parity_films", "validate", "benchmark")),
)
FEW = 24  # films of each class


def blocks(page: Path) -> list[str]:
    """The fenced blocks without a language, and the indented ones."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL) + re.findall(r"^(?:    .+\n)+", text, re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """The command lines of a page as words, in their order; comments and the line breaks behind a backslash are gone."""
    lines = "".join(blocks(page)).replace("\\\n", " ").splitlines()
    found = (shlex.split(line, comments=True) for line in lines if re.match(r" *(cxr-edge|pip|make|pytest|python) ", line))
    return [words for words in found if "..." not in words]


README = commands(PAGES[0])


@pytest.fixture(scope="module")
def few_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first films of each class and split of the Kermany set."""
    if not KERMANY.is_dir():
        pytest.skip("the Kermany films are not here")
    folder = tmp_path_factory.mktemp("few") / "chest_xray"
    for split in ("train", "test"):
        for label in ("NORMAL", "PNEUMONIA"):
            (folder / split / label).mkdir(parents=True)
            for film in sorted((KERMANY / split / label).iterdir())[:FEW]:
                (folder / split / label / film.name).symlink_to(film)
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, few_films: Path) -> Iterator[Path]:
    """A folder like that of a reader: recipes, exported, chest_xray, a film; the commands of the README run in it, in their order."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("recipes", "exported"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "chest_xray").symlink_to(few_films)
    film = sorted((few_films / "test" / "PNEUMONIA").iterdir())[0]
    shutil.copyfile(film, folder / "film.jpeg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.mark.parametrize("words", [words for words in README if words[0] == "cxr-edge"], ids=" ".join)
def test_a_command_of_the_readme_runs(words: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = words[1:]
    if given[0] == "compress":
        given += [word for value in QUICK for word in ("--set", value)]
    if given[0] == "benchmark":
        given += ["--runs", "20", "--most", "0", "--cold-starts", "1", "--batch", "2"]
    ended = call_cli(*given)
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert shown.out
    assert ended in ((0, 1) if given[0] in ("drift", "compress") else (0,)), shown.err  # 1: of so few films one may be lost in an epoch
    if given[0] == "compress":
        assert (here / "runs" / "szanet" / "bundle" / "bundle.json").is_file()
    if given[0] == "predict":
        assert re.search(r"NORMAL|PNEUMONIA|UNCERTAIN", shown.out)
    if "--json" in given:
        assert json.loads((here / given[given.index("--json") + 1]).read_text(encoding="utf-8"))["rows"]


@pytest.mark.parametrize("words", [words for words in README if words[0] == "make"], ids=" ".join)
def test_a_make_target_of_the_readme_runs_commands_that_the_tests_run(words: list[str]) -> None:
    shown = subprocess.run([words[0], "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0
    expected = {"demo": "cxr-edge compress recipes/demo.yaml --out runs/demo", "test": "python -m pytest"}
    assert expected[words[1]] in shown.stdout


@pytest.mark.parametrize("words", [words for words in README if words[0] == "pip"], ids=" ".join)
def test_an_installation_of_the_readme_is_resolved(words: list[str], tmp_path: Path) -> None:
    """Without network, against what is installed here; tests/test_wheel.py installs the base for real."""
    for name in ("toolkit", "setup.cfg", "pyproject.toml", "constraints.txt", "README.md"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, tmp_path / name)
    options = ["--no-index", "--no-build-isolation", "--dry-run", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", words[1], *options, *words[2:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Would install cxr-edge" in done.stdout


def test_the_readme_is_run_whole() -> None:
    assert {words[0] for words in README} == {"cxr-edge", "make", "pip"}
    assert len(README) == sum(len(re.findall(r"^(?:cxr-edge|make|pip) ", block, re.MULTILINE)) for block in blocks(PAGES[0]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_have_the_options_that_they_name(page: Path) -> None:
    for words in commands(page):
        if words[0] != "cxr-edge":
            continue
        command: click.Command | None = cli
        with click.Context(cli) as context:
            for word in words[1:]:
                if not isinstance(command, click.Group):
                    break
                command = command.get_command(context, word)
        assert command is not None, words
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= flags, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link
