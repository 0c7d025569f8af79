"""Wheels for other machines: which tags are asked for, which fit, and what an interrupted or refused download leaves."""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, call_cli
from tests.devices.test_visit import wheelhouse
from toolkit.devices import wheels
from toolkit.devices.install import InstallError, environment
from toolkit.devices.probe import REQUIREMENTS, lacking
from toolkit.devices.wheels import Wanted, gather, misfit, platforms
from toolkit.errors import DeviceError, InputError

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
FITTING = [
    "click-8.5.1-py3-none-any.whl",
    "msgspec-0.22.0-cp311-cp311-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
    "numpy-2.4.6-cp311-cp311-manylinux_2_27_aarch64.whl",
    "onnxruntime-1.31.1-cp310-abi3-manylinux_2_28_aarch64.whl",
    "pillow-13.0.0-cp311-cp311-manylinux_2_28_aarch64.whl",
]


def test_the_requirements_are_those_of_the_base_install() -> None:
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^install_requires =\n((?:    .+\n)+)", setup, re.MULTILINE)
    assert tuple(listed.split()) == REQUIREMENTS
    assert lacking() == []


def test_a_tag_stands_for_all_that_it_covers() -> None:
    tags = platforms("manylinux_2_28_aarch64")
    assert tags[0] == "manylinux_2_28_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= set(tags)
    assert "manylinux_2_29_aarch64" not in tags
    assert "manylinux2014_x86_64" not in platforms("manylinux_2_12_x86_64")
    assert platforms("macosx_11_0_arm64") == ("macosx_11_0_arm64",)


def test_wheels_that_fit() -> None:
    assert misfit(FITTING, "aarch64", (3, 11)) is None


@pytest.mark.parametrize(
    ("files", "machine", "python", "reason"),
    [
        ([], "aarch64", (3, 11), "holds no wheel: gather them"),
        (FITTING[:2], "aarch64", (3, 11), "holds no wheel of numpy"),
        (FITTING, "x86_64", (3, 11), "holds msgspec for another machine or Python: msgspec-0.22.0"),
        (FITTING, "armv7l", (3, 11), "holds msgspec for another machine"),
        (FITTING, "aarch64", (3, 12), "holds msgspec for another machine or Python"),
        ([*FITTING[:3], "onnxruntime-1.31.1-cp312-abi3-manylinux_2_28_aarch64.whl"], "aarch64", (3, 11), "holds onnxruntime for another"),
    ],
)
def test_wheels_that_do_not_fit(files: list[str], machine: str, python: tuple[int, int], reason: str) -> None:
    found = misfit(files, machine, python)
    assert found is not None
    assert reason in found


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted("-oops"), "'-oops' is no platform tag; expected one such as manylinux_2_28_aarch64"),
        (Wanted("linux aarch64"), "is no platform tag"),
        (Wanted("manylinux_2_28_aarch64", ("2.7",)), "'2.7' is no version of Python that this runs on"),
        (Wanted("manylinux_2_28_aarch64", ("3.10",)), "'3.10' is no version of Python that this runs on"),
        (Wanted("manylinux_2_28_aarch64", ("3.11",), Path("nowhere.txt")), "No file of constraints at nowhere.txt"),
    ],
)
def test_what_is_no_request(wanted: Wanted, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        gather(wanted, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip finds wheels in this folder and nowhere else."""
    folder = wheelhouse(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_wheels_are_gathered_by_the_command(offline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import platform

    options = ("--platform", f"manylinux_2_28_{platform.machine()}", "--python-version", HERE, "--out", tmp_path / "out")
    assert call_cli("devices", "wheels", *options, "--constraint", ROOT / "constraints.txt") == 0
    found = {wheel.name for wheel in (tmp_path / "out").iterdir()}
    assert found == {wheel.name for wheel in offline.iterdir()}
    assert f"{len(found)} wheels for manylinux_2_28_" in capsys.readouterr().out
    assert misfit(found, platform.machine(), sys.version_info[:2]) is None
    assert not (tmp_path / ".out.partial").exists()


def test_what_pip_does_not_find_is_a_sentence_and_leaves_no_folder(offline: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"No wheels for manylinux_2_28_armv7l with Python 3.11: .*No matching distribution found for"):
        gather(Wanted("manylinux_2_28_armv7l"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_wheel_is_removed_and_brought_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = []

    def download(wanted: Wanted, version: str, out: Path) -> None:
        downloads.append(sorted(file.name for file in out.iterdir()))
        if not (out / "a.whl").exists():
            with zipfile.ZipFile(out / "a.whl", "w") as archive:
                archive.writestr("a", "a")
        if not (out / "b.whl").exists():
            shutil.copy(out / "a.whl", out / "b.whl") if len(downloads) > 1 else (out / "b.whl").write_bytes(b"PK")

    monkeypatch.setattr(wheels, "_download", download)
    with pytest.raises(DeviceError, match=r"b.whl came damaged and was removed; give the command again"):
        gather(Wanted("manylinux_2_28_aarch64"), tmp_path / "out")
    assert [wheel.name for wheel in gather(Wanted("manylinux_2_28_aarch64"), tmp_path / "out")] == ["a.whl", "b.whl"]
    assert downloads == [[], ["a.whl"]]


def test_wheels_that_pip_refuses_there(tmp_path: Path) -> None:
    folder = wheelhouse(tmp_path)
    next(folder.glob("numpy-*")).unlink()
    with pytest.raises(InstallError, match=r"the wheels do not fit this machine: ERROR: .*numpy"):
        environment(folder, tmp_path / "venv")
