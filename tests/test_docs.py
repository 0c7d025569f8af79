"""The documents tell the truth."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from benchmarks import results
from tests.conftest import KERMANY, ROOT, needs_kermany
from toolkit import __version__
from toolkit.cli.main import VERBS, cli
from toolkit.core.bundle import CARD, MANIFEST, Bundle
from toolkit.core.codec import read_json
from toolkit.core.recipe import parse_yaml, read_recipe
from toolkit.core.reports import RunReport
from toolkit.devices.fleet import read_fleet
from toolkit.models.registry import MODELS
from toolkit.pytest_plugin import OPTIONS
from toolkit.report import reference
from toolkit.report.card import render_card
from toolkit.report.render import with_interval

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
FLEET = ROOT / "recipes" / "devices.yaml"  # no recipe: a list of machines
BUNDLES = sorted(path.parent for path in (ROOT / "exported").glob(f"*/{MANIFEST}"))


def test_the_readme_names_every_verb_and_no_other() -> None:
    table = re.findall(r"^\| (.+?) \| ", README, re.MULTILINE)
    named = {word for cell in table for command in re.findall(r"`([^`]+)`", cell) for word in command.removeprefix("cxr-edge ").split()[:1]}
    assert named & set(VERBS) == set(VERBS)
    assert set(re.findall(r"cxr-edge ([a-z]+)", README)) <= set(VERBS)


def test_every_path_that_the_documents_name_is_there() -> None:
    for text in (README, DESIGN):
        for path in re.findall(r"\b((?:docs|recipes|tests|benchmarks|exported|device_tests)/[\w./-]*\w)", text):
            assert (ROOT / path).exists(), path


def test_the_plan_draws_every_room() -> None:
    drawn = set(re.findall(r"^[|`]-- (\w+)", DESIGN, re.MULTILINE))
    rooms = {path.stem for path in (ROOT / "toolkit").iterdir() if path.is_dir() or path.suffix == ".py"} - {"__pycache__", "__init__"}
    assert drawn - {"__init__"} == rooms


@pytest.mark.parametrize("recipe", sorted({*(ROOT / "recipes").rglob("*.yaml")} - {FLEET}), ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_named_as_its_file(recipe: Path) -> None:
    assert read_recipe(recipe).name == recipe.stem


def test_the_example_fleet_is_valid_and_each_of_its_devices_has_an_address_of_its_own() -> None:
    devices = read_fleet(FLEET)
    assert len({device.address for device in devices}) == len(devices)
    assert "local" in {device.address for device in devices}


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda path: path.name)
def test_the_documents_state_the_figures_of_each_sealed_bundle(folder: Path) -> None:
    manifest = Bundle(folder).manifest
    recommended = manifest.recommended[0]
    assert manifest.reference is not None
    judged = [manifest.reference.metrics, *(artifact.metrics for artifact in manifest.artifacts)]
    for metrics in judged:
        assert metrics is not None
        for name in ("accuracy", "recall", "specificity", "roc_auc"):
            assert with_interval(metrics, name) in (README if metrics.artifact == recommended else RESULTS), f"{metrics.artifact} {name}"


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda path: path.name)
def test_a_shipped_bundle_keeps_to_its_sizes(folder: Path) -> None:
    bundle = Bundle(folder)
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 20e6
    assert bundle.artifact(bundle.manifest.recommended[0]).bytes <= 1.5e6
    assert bundle.manifest.screen is not None


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda path: path.name)
def test_the_card_of_a_shipped_bundle_is_made_from_its_report(folder: Path) -> None:
    made = render_card(Bundle(folder).manifest, read_json(folder / "report.json", RunReport))
    assert made == (folder / CARD).read_text(encoding="utf-8"), f"python -m benchmarks.cards exported/{folder.name}"


def test_the_shipped_bundles_together_keep_to_their_size() -> None:
    assert len(BUNDLES) == 3
    assert sum(file.stat().st_size for folder in BUNDLES for file in folder.iterdir()) <= 45e6


def test_the_citation_is_of_this_version_and_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert f"license = {citation['license']}" in (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # those that the format asks for


def test_constraints_hold_one_version_of_each_requirement() -> None:
    pinned = [line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    assert len(pinned) == len(set(pinned))
    wanted = set(re.findall(r"^    ([A-Za-z][\w-]*)(?:>=|$)", (ROOT / "setup.cfg").read_text(), re.MULTILINE))
    optional = {"tensorrt-rtx-cu13", "tensorrt", "pydicom"}  # of extras that no test installs
    assert {name.lower() for name in wanted} - optional <= set(pinned)


def test_the_page_on_ci_and_the_action_name_the_options_of_the_plugin() -> None:
    action = (ROOT / "docs" / "github-action.yml").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    named = re.compile(r"--cxr-edge-[a-z]+(?:-[a-z]+)*")
    assert set(re.findall(r"^\| `(--cxr-edge-[a-z-]+)", page, re.MULTILINE)) == set(OPTIONS)
    assert set(named.findall(action)) <= set(OPTIONS)
    assert set(named.findall(page)) <= set(OPTIONS)


def test_the_action_is_a_workflow_whose_commands_exist() -> None:
    workflow = yaml.safe_load((ROOT / "docs" / "github-action.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["drift"]["steps"]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    commands = "\n".join(step["run"] for step in steps if "run" in step)
    for line in re.findall(r"^cxr-edge (.+)$", commands, re.MULTILINE):
        command: click.Command | None = cli
        with click.Context(cli) as context:
            for word in line.split():
                if not isinstance(command, click.Group):
                    break
                command = command.get_command(context, word)
        assert command is not None
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", line)) <= flags


@needs_kermany
def test_the_output_on_the_page_on_ci_is_what_the_plugin_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    shown = next(block for block in re.findall(r"^```\n(.+?)^```", page, re.MULTILINE | re.DOTALL) if "lost:" in block)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "onnxruntime-fp32 and recall"]
    options = ["--cxr-edge-bundle", ROOT / "exported" / "mobilenet-v2", "--cxr-edge-data", KERMANY, "--cxr-edge-mode", "proven"]
    done = subprocess.run([*command, *map(str, options)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    for line in shown.splitlines():
        assert line.strip("_ ") in done.stdout


@pytest.mark.parametrize("name", reference.DOCUMENTS)
def test_a_reference_is_that_of_the_types(name: str) -> None:
    written = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert reference.reference(name) == written, f"python -m toolkit.report.reference {name} > docs/{name}.md"


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda path: path.name)
def test_every_key_of_a_sealed_manifest_stands_in_the_reference(folder: Path) -> None:
    def keys(data: object) -> set[str]:
        if isinstance(data, list):
            return {one for item in data for one in keys(item)}
        return {key for key in data if key.isidentifier()} | keys(list(data.values())) if isinstance(data, dict) else set()

    written = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "bundle.md").read_text(encoding="utf-8"), re.MULTILINE))
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    names = {*manifest["provenance"].pop("libraries", {}), *manifest.get("recommended_for", {})}
    assert keys(manifest) - names - {"accuracy", "roc_auc", "recall", "specificity"} <= written


@pytest.mark.parametrize(
    "row",
    [
        "| `epochs` | a whole number, at least 1, at most 1e+09 | must be given |",
        "| `balance` | `class_weights` or `none` or `oversample` | `class_weights` |",
        "| `crop` | 2 values, each a number, above 0, at most 2 | `[1.0, 1.0]` |",
        "| `average` | a number, above 0, below 1, or null | `null` |",
        "| `augment` | the keys of `data.holdout_augment` | `{flip:true, rotate_deg:15}`, else as there |",
        "| `threads` | a list, each a whole number, at least 1, at most 1e+09 | `[1, 2]` |",
    ],
)
def test_rows_of_the_reference_written_by_hand(row: str) -> None:
    assert row in RECIPES.splitlines()


def test_every_key_that_a_recipe_of_ours_sets_stands_in_the_reference() -> None:
    def keys(data: object) -> set[str]:
        return (
            {part for key in data for part in str(key).split(".")} | {one for value in data.values() for one in keys(value)}
            if isinstance(data, dict)
            else set()
        )

    for recipe in {*(ROOT / "recipes").rglob("*.yaml")} - {FLEET}:
        assert keys(parse_yaml(recipe.read_text(encoding="utf-8"), recipe.name)) <= set(
            re.findall(r"^\| `(\w+)` \|", RECIPES, re.MULTILINE)
        )


def test_recipes_say_nothing_twice() -> None:
    for recipe in (ROOT / "recipes").glob("*.yaml"):
        text = recipe.read_text(encoding="utf-8")
        keys = re.findall(r"^(\w+):", text, re.MULTILINE)
        assert len(keys) == len(set(keys)) == len(yaml.safe_load(text))


def test_the_tables_of_the_results_are_those_of_the_recorded_evaluations() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert results.page(text) == text


def test_the_table_of_the_readme_is_that_of_the_sealed_bundles() -> None:
    assert results.readme(README) == README


def test_every_recipe_of_a_report_has_its_row_in_the_results() -> None:
    rows = yaml.safe_load((ROOT / "docs" / "results" / "models.yaml").read_text(encoding="utf-8"))
    assert {row["faithful"] for row in rows if "faithful" in row} == {path.stem for path in (ROOT / "recipes" / "reports").glob("*.yaml")}
    assert {row["model"] for row in rows} == set(MODELS)
