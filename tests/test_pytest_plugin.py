"""The gate in a user's own CI: pytest as they start it, in a folder of theirs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.conftest import INT8, TINY_FILMS
from toolkit.core.bundle import Artifact, Bundle, write_manifest
from toolkit.core.target import Target
from toolkit.data.phantom import write_phantoms

CHECKS = ("recall", "subgroups", "classes", "sealed")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The films that `finished_run` was made from."""
    folder = tmp_path_factory.mktemp("films") / "drawn"
    write_phantoms(TINY_FILMS, folder)
    return folder


def run_pytest(folder: Path, *arguments: str | Path) -> tuple[int, str]:
    """Exit code and output of pytest in a folder with one test of the user's own."""
    (folder / "test_own.py").write_text("def test_own():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "-W", "error", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def change(folder: Path, name: str, changed: Callable[[Artifact], Artifact]) -> None:
    """Change one artifact in the manifest."""
    manifest = Bundle(folder).manifest
    artifacts = tuple(changed(one) if one.name == name else one for one in manifest.artifacts)
    write_manifest(folder, msgspec.structs.replace(manifest, artifacts=artifacts))


def moved(artifact: Artifact) -> Artifact:
    point = artifact.operating
    return msgspec.structs.replace(artifact, operating=msgspec.structs.replace(point, threshold=point.threshold + 0.05, band=None))


def test_without_its_option_it_does_nothing(tmp_path: Path) -> None:
    code, said = run_pytest(tmp_path)
    assert code == 0
    assert "1 passed" in said
    assert "Against" not in said


def test_one_test_for_each_artifact_and_limit(finished_run: Path, films: Path, tmp_path: Path) -> None:
    bundle = finished_run / "bundle"
    limits = ("--cxr-edge-max-recall-loss", "100", "--cxr-edge-max-specificity-loss", "100")
    code, said = run_pytest(tmp_path, "--cxr-edge-bundle", bundle, "--cxr-edge-data", films, *limits)
    assert code == 0, said
    wanted = {f"{name}-{check}" for name in Bundle(bundle).names for check in (*CHECKS, "specificity")}
    assert set(re.findall(r"^PASSED .*bundle::(.*)$", said, re.MULTILINE)) == wanted
    assert f"{len(wanted) + 1} passed" in said
    assert re.search(r"^SYNTHETIC films: .* Against szanet dense \(torch\) on \d+ films, \d+ of them positive\.", said, re.MULTILINE)


def test_a_moved_threshold_fails_in_one_sentence_and_what_cannot_run_is_skipped(copy_of_run: Path, films: Path, tmp_path: Path) -> None:
    bundle = copy_of_run / "bundle"
    change(bundle, INT8, moved)
    change(bundle, "openvino-fp32", lambda one: msgspec.structs.replace(one, target=Target.from_name("tensorrt-fp32")))
    code, said = run_pytest(
        tmp_path, "-m", "cxr_edge", "--cxr-edge-bundle", bundle, "--cxr-edge-data", films, "--cxr-edge-max-recall-loss", "100"
    )
    assert code == 1
    assert re.search(rf"^{INT8}: its threshold is \d\.\d+ and it was sealed with \d\.\d+\.$", said, re.MULTILINE)
    assert re.search(rf"^FAILED .*bundle::{INT8}-sealed", said, re.MULTILINE)
    assert re.search(r"SKIPPED \[4\].*tensorrt is not installed: pip install 'cxr-edge\[tensorrt\]'", said)
    assert "1 failed, 11 passed, 4 skipped, 1 deselected" in said
    assert "Traceback" not in said


def test_lost_pneumonias_are_listed(copy_of_run: Path, films: Path, tmp_path: Path) -> None:
    bundle = copy_of_run / "bundle"
    nothing = 0.999999
    change(
        bundle,
        INT8,
        lambda one: msgspec.structs.replace(one, operating=msgspec.structs.replace(one.operating, threshold=nothing, band=None)),
    )
    code, said = run_pytest(tmp_path, "-k", f"{INT8}-recall", "--cxr-edge-bundle", bundle, "--cxr-edge-data", films)
    assert code == 1
    found = re.search(rf"^{INT8}: it loses (\d+) and gains 0 of (\d+) pneumonias, .* and the limit is 1\.$", said, re.MULTILINE)
    assert found is not None, said
    failures, _ = said.split("short test summary info")  # where a CI is found, the summary repeats the message
    assert len(re.findall(r"^  lost: test/PNEUMONIA/\S+, 0\.\d+ before, 0\.\d+ now$", failures, re.MULTILINE)) == int(found[1]) > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--cxr-edge-bundle", "BUNDLE"), "--cxr-edge-bundle is given without --cxr-edge-data."),
        (("--cxr-edge-mode", "proven"), "--cxr-edge-mode is given without --cxr-edge-bundle."),
        (("--cxr-edge-bundle", "gone", "--cxr-edge-data", "FILMS"), "No bundle at gone: there is no bundle.json in it"),
        (("--cxr-edge-bundle", "BUNDLE", "--cxr-edge-data", "gone"), "No data at gone; expected train/ and test/"),
        (("--cxr-edge-max-recall-loss", "200"), "'200' is no number from 0 to 100"),
        (("--cxr-edge-mode", "sure"), "invalid choice: 'sure'"),
    ],
)
def test_wrong_options_are_a_usage_error(
    arguments: tuple[str, ...], sentence: str, finished_run: Path, films: Path, tmp_path: Path
) -> None:
    known = {"BUNDLE": str(finished_run / "bundle"), "FILMS": str(films)}
    code, said = run_pytest(tmp_path, *(known.get(word, word) for word in arguments))
    assert code == pytest.ExitCode.USAGE_ERROR
    assert sentence in said
    assert "Traceback" not in said


def test_films_of_another_set_fail_with_the_sentence_of_the_gate(finished_run: Path, phantoms: Path, tmp_path: Path) -> None:
    code, said = run_pytest(tmp_path, "-m", "cxr_edge", "--cxr-edge-bundle", finished_run / "bundle", "--cxr-edge-data", phantoms)
    assert code == 1
    assert "films is among the" in said
    assert "Traceback" not in said
