"""A folder of wheels for devices without network: gathered here with pip, for another processor and Python."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from toolkit.core.files import storage_errors
from toolkit.devices.probe import REQUIREMENTS
from toolkit.errors import DeviceError, InputError

# PEP 600: a wheel for an older C library runs on a newer one. The last two columns are older names of some of them.
MANYLINUX = re.compile(r"manylinux_2_(\d+)_(\w+)")
LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
PLATFORM = re.compile(r"[a-z]+[a-z0-9_]*_[a-z0-9_]+")
VERSION = re.compile(r"3\.(1[1-9]|[2-9]\d)")
WHEEL = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-\d[^-]*)?-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<platform>[^-]+)\.whl")


class Wanted(NamedTuple):
    """A platform tag such as manylinux_2_28_aarch64, the versions of Python, a file of constraints for pip."""

    platform: str
    pythons: tuple[str, ...] = ("3.11",)
    constraints: Path | None = None


def gather(wanted: Wanted, out: Path) -> tuple[Path, ...]:
    """Download the base install, and pip itself, as wheels into `out`; gives their paths. What an interrupted run left is used again.

    Raises InputError for a tag or version that is none, DeviceError with pip's reason, StorageError.
    """
    _refuse(wanted, out)
    partial = out.with_name(f".{out.name}.partial")
    with storage_errors(out):
        partial.mkdir(parents=True, exist_ok=True)
        for version in wanted.pythons:
            _download(wanted, version, partial)
        _refuse_damaged(partial)
        out.mkdir(exist_ok=True)
        for wheel in sorted(partial.glob("*.whl")):
            wheel.replace(out / wheel.name)
        partial.rmdir()
    return tuple(sorted(out.glob("*.whl")))


def platforms(tag: str) -> tuple[str, ...]:
    """The tag and those that it covers, newest first: pip takes each by its name alone."""
    found = MANYLINUX.fullmatch(tag)
    if not found:
        return (tag,)
    newest, machine = int(found[1]), found[2]
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(newest, 4, -1)]
    return (*tags, *(f"{name}_{machine}" for minor, name in LEGACY.items() if minor <= newest))


def misfit(files: Iterable[str], machine: str, python: tuple[int, int]) -> str | None:
    """Why wheels of these names cannot be the base install of such a machine, in words that follow the folder's name; None when they
    can."""
    wheels = [found for found in map(WHEEL.fullmatch, files) if found]
    if not wheels:
        return "holds no wheel: gather them with cxr-edge devices wheels"
    for requirement in REQUIREMENTS:
        name = re.split(r"[<>=]", requirement)[0]
        own = [wheel for wheel in wheels if wheel["name"].lower() == name]
        if not own:
            return f"holds no wheel of {name}: gather them again"
        if not any(_fits(wheel, machine, python) for wheel in own):
            return f"holds {name} for another machine or Python: {', '.join(sorted(wheel[0] for wheel in own))}"
    return None


def _fits(wheel: re.Match[str], machine: str, python: tuple[int, int]) -> bool:
    place = any(tag == "any" or tag.endswith(f"_{machine.lower()}") for tag in wheel["platform"].split("."))
    for tag in wheel["python"].split("."):
        found = re.fullmatch(r"(py|cp)(\d)(\d*)", tag)
        if found and int(found[2]) == python[0]:
            least = int(found[3] or 0)
            exact = found[1] == "cp" and wheel["abi"] != "abi3"
            if place and (least == python[1] if exact else least <= python[1]):
                return True
    return False


def _refuse(wanted: Wanted, out: Path) -> None:
    if not PLATFORM.fullmatch(wanted.platform):
        raise InputError(f"'{wanted.platform}' is no platform tag; expected one such as manylinux_2_28_aarch64 or manylinux_2_28_x86_64.")
    for version in wanted.pythons:
        if not VERSION.fullmatch(version):
            raise InputError(f"'{version}' is no version of Python that this runs on; expected one such as 3.11.")
    if wanted.constraints and not wanted.constraints.is_file():
        raise InputError(f"No file of constraints at {wanted.constraints}.")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give a folder.")


def _download(wanted: Wanted, version: str, out: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--dest", str(out)]
    command += ["--implementation", "cp", "--python-version", version]
    for tag in platforms(wanted.platform):
        command += ["--platform", tag]
    command += ["--constraint", str(wanted.constraints)] if wanted.constraints else []
    done = subprocess.run([*command, *REQUIREMENTS, "pip"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise DeviceError(f"No wheels for {wanted.platform} with Python {version}: {_reason(done.stderr.splitlines())}")


def _reason(lines: Sequence[str]) -> str:
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return " ".join(errors[-2:]) or next((line for line in reversed(lines) if line.strip()), "pip gives no reason.")


def _refuse_damaged(folder: Path) -> None:
    """A wheel that was cut off is removed, so that the next run brings it again."""
    for wheel in folder.glob("*.whl"):
        try:
            with zipfile.ZipFile(wheel) as archive:
                broken = archive.testzip()
        except zipfile.BadZipFile:
            broken = wheel.name
        if broken:
            wheel.unlink()
            raise DeviceError(f"{wheel.name} came damaged and was removed; give the command again.")
