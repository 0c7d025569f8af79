"""A stick: one command there, a result beside it, nothing left on the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import call_cli, without
from tests.devices.conftest import script
from tests.devices.test_visit import wheelhouse
from tests.test_imports import IMPORTED
from toolkit.core.bundle import Bundle
from toolkit.devices.digests import complaint
from toolkit.devices.job import read_result
from toolkit.devices.kit import write_kit
from toolkit.devices.payload import Options, runner_entries
from toolkit.devices.verdict import judged
from toolkit.errors import InputError

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def stick(with_scores: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    out = tmp_path / "stick"
    assert call_cli("devices", "kit", with_scores, "--films", films, "--out", out, "--runs", "5", "--threads", "1") == 0
    assert "sh run.sh" in capsys.readouterr().out
    return out


@pytest.fixture
def run(stick: Path, place: Path, tmp_path: Path) -> Run:
    """The stick's command, in a machine where `python` is python3."""

    def start(python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        (tmp_path / "path").mkdir(exist_ok=True)
        script(tmp_path / "path" / "python3", f'exec {python} "$@"')
        environment = {"PATH": f"{tmp_path / 'path'}:{os.defpath}", "TMPDIR": str(place), "HOME": str(tmp_path / "home")}
        command = ["sh", str(stick / "run.sh")]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd="/")

    return start


def snapshot(folder: Path) -> Mapping[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_result_lies_on_the_stick_and_is_judged_here(run: Run, stick: Path, place: Path, with_scores: Path, tmp_path: Path) -> None:
    before = snapshot(stick)
    done = run()
    assert done.returncode == 0, done.stderr
    (result,) = stick.glob("result-*.json")
    assert f"The result is {result.name}" in done.stderr
    after = snapshot(stick)
    assert set(after) - set(before) == {result.name}
    assert {name: after[name] for name in before} == before
    assert list(place.iterdir()) == []
    assert not (tmp_path / "home").exists()
    report = judged(read_result(result), Bundle(with_scores))
    assert f"result-{report.device}.json" == result.name
    assert report.drift is not None
    assert (report.drift.n, report.drift.verdict, report.problems) == (16, "pass", ())
    assert run().returncode == 0
    assert {file.name for file in stick.glob("result-*.json")} == {result.name, f"result-{report.device}-2.json"}


def test_no_name_of_a_film_is_on_the_stick(stick: Path) -> None:
    names = [path.name for path in stick.rglob("*")]
    assert not [name for name in names if "JaneDoe" in name]
    assert not [name for name, raw in snapshot(stick).items() if b"JaneDoe" in raw]
    assert complaint(stick) == ""


def test_a_damaged_stick_is_not_run(run: Run, stick: Path) -> None:
    (stick / "bundle" / "fp32.onnx").write_bytes(b"")
    done = run()
    assert done.returncode == 1
    assert "Error: the stick is damaged: 1 of the files were damaged or lost on the way: bundle/fp32.onnx; write it again." in done.stderr
    assert not list(stick.glob("result-*"))


def test_packages_that_are_missing_and_no_wheels(run: Run, stick: Path, tmp_path: Path, place: Path) -> None:
    done = run(f"{sys.executable} -S")
    assert done.returncode == 1
    assert "this machine lacks click, msgspec, numpy, onnxruntime, pillow, and no wheels are on the stick" in done.stderr
    assert not list(stick.glob("result-*"))
    assert list(place.iterdir()) == []


def test_wheels_on_the_stick_serve_a_machine_without_packages(
    run: Run, stick: Path, with_scores: Path, tmp_path: Path, place: Path
) -> None:
    shutil.rmtree(stick)
    options = ("--runs", "5", "--threads", "1", "--wheels", wheelhouse(tmp_path))
    assert call_cli("devices", "kit", with_scores, "--out", stick, *options) == 0
    done = run(f"{sys.executable} -S")
    assert done.returncode == 0, done.stderr
    assert "installing into a folder that is removed afterwards" in done.stderr
    (result,) = stick.glob("result-*.json")
    report = read_result(result)
    assert report.latency.rows
    assert report.scores == {}
    assert set(report.latency.host.libraries) == {"numpy", "onnxruntime", "pillow"}
    assert list(place.iterdir()) == []


def test_an_old_python_is_told_in_a_sentence(stick: Path, tmp_path: Path) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "dirname").symlink_to(shutil.which("dirname") or "")
    for name in ("python3", "python3.11"):
        script(tmp_path / "path" / name, "exit 1")
    environment = {"PATH": str(tmp_path / "path")}
    done = subprocess.run(["/bin/sh", str(stick / "run.sh")], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (2, "Error: Python 3.11 or newer is needed on this machine.\n")


def test_what_fails_there_leaves_no_result(run: Run, stick: Path, place: Path) -> None:
    text = (stick / "job.json").read_text().replace('"artifacts": []', '"artifacts": ["nothing"]')
    (stick / "job.json").write_text(text)
    digests = (stick / "digests.json").read_text()
    import hashlib
    import json

    listed = json.loads(digests) | {"job.json": hashlib.sha256(text.encode()).hexdigest()}
    (stick / "digests.json").write_text(json.dumps(listed))
    done = run()
    assert done.returncode == 1
    assert "has no artifact 'nothing'" in done.stderr
    assert "it could not be measured; the line above says why" in done.stderr
    assert not list(stick.glob("*result-*"))
    assert list(place.iterdir()) == []


def test_a_folder_that_holds_something_is_not_replaced(bundle: Path, stick: Path) -> None:
    with pytest.raises(InputError, match="is there and holds something; read its results first"):
        write_kit(bundle, stick, Options())


def test_wheels_that_are_none(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no wheel; gather them with cxr-edge devices wheels"):
        write_kit(bundle, tmp_path / "kit", Options(install=tmp_path / "empty"))
    assert not (tmp_path / "kit").exists()


def test_the_runner_is_whole_without_the_rest_of_the_package_and_needs_the_base_install_alone(tmp_path: Path) -> None:
    for entry in runner_entries():
        file = tmp_path / entry.name.removeprefix("runner/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(entry.read())
    blocked = ("torch", "scipy", "yaml", "openvino", "onnx", "matplotlib", "jinja2", "nncf", "tqdm", "sklearn", "pydicom")
    names = ["toolkit.devices.on_device", "toolkit.benchmark.runner", "toolkit.benchmark.cold", "toolkit.cli.predict", "toolkit.cli.main"]
    code = without(blocked, IMPORTED.format(names=names)) + "\nimport toolkit; print(toolkit.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, cwd="/")
    assert done.stdout == f"imported {len(names)}\n{tmp_path}/toolkit/__init__.py\n", done.stderr


@pytest.mark.parametrize("module", ["probe", "digests", "guard", "install", "on_stick"])
def test_what_runs_before_anything_is_installed_needs_pythons_own_library_alone(module: str) -> None:
    code = f"import sys; sys.path.insert(0, '.'); import toolkit.devices.{module}; print([n for n in sys.modules if n in {{'msgspec', 'numpy', 'click'}}])"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.stdout == "[]\n", done.stderr
