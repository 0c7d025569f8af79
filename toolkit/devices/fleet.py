"""Several devices side by side: a list in a YAML file, a thread each, a failure named for each that is lost."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace as replaced

from toolkit.core.codec import Frozen, decode, encode_json
from toolkit.core.files import write_atomically
from toolkit.core.progress import track
from toolkit.core.recipe import parse_yaml
from toolkit.core.reports import DeviceReport
from toolkit.devices.address import parse_address
from toolkit.devices.payload import Options, Package, pack
from toolkit.devices.shell import Shell
from toolkit.devices.visit import open_shell, visit
from toolkit.errors import CxrEdgeError, InputError, RecipeError

MOST = 100
logger = logging.getLogger(__name__)
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@-]*$", max_length=100)]


class Device(Frozen, frozen=True, kw_only=True):
    """One device. `python`: a command or a path there; `folder`: a place for temporary files there; `install`: a folder of wheels here,
    from which what is missing is installed into a folder that is removed afterwards. Nulls leave it to the command line."""

    name: Name
    address: str
    python: str | None = None
    folder: str | None = None
    install: str | None = None


class Fleet(Frozen, frozen=True, kw_only=True):
    """`recipes/devices.yaml`."""

    devices: tuple[Device, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.devices) <= MOST:
            raise ValueError(f"expected 1 to {MOST} devices")


class FleetResult(Frozen, frozen=True, kw_only=True):
    """What came back, in the order of the devices, and by name why the others did not."""

    devices: tuple[DeviceReport, ...]
    failed: Mapping[str, str] = {}


def read_fleet(path: Path) -> tuple[Device, ...]:
    """The devices of a YAML file; folders of wheels are relative to it. Raises RecipeError for an unknown key, a bad address or a
    name that stands twice."""
    if not path.is_file():
        raise RecipeError(f"No list of devices at {path}; give a YAML file such as recipes/devices.yaml.")
    fleet = decode(parse_yaml(path.read_bytes(), str(path)), Fleet, str(path), RecipeError)
    names = [device.name for device in fleet.devices]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise RecipeError(f"{path} names {', '.join(twice)} twice; give each device a name of its own.")
    for device in fleet.devices:
        try:
            parse_address(device.address)
        except InputError as cause:
            raise RecipeError(f"{path}, {device.name}: {cause}") from cause
    return tuple(replaced(device, install=_beside(path, device.install)) for device in fleet.devices)


def _beside(path: Path, folder: str | None) -> str | None:
    return None if folder is None else str(path.parent / folder)


def measure_fleet(bundle_path: Path, devices: Sequence[Device], options: Options) -> FleetResult:
    """Visit all devices side by side; what each gives back, and by name the sentence of each that failed.

    Raises what `pack` raises, before any device is visited. An interruption ends all visits, each of which cleans up first.
    """
    package = pack(bundle_path, options)
    visits = {device.name: (open_shell(device.address, device.name), _own(options, device)) for device in devices}
    found = dict(_side_by_side(package, visits))
    reports = tuple(report for device in devices if isinstance(report := found[device.name], DeviceReport))
    failed = {device.name: reason for device in devices if isinstance(reason := found[device.name], str)}
    return FleetResult(devices=reports, failed=failed)


def write_reports(result: FleetResult, out: Path) -> tuple[Path, ...]:
    """`result-NAME.json` for each device that gave a report; gives their paths."""
    paths = []
    for report in result.devices:
        paths.append(out / f"result-{report.device}.json")
        write_atomically(paths[-1], encode_json(report))
    return tuple(paths)


def _own(options: Options, device: Device) -> Options:
    install = Path(device.install) if device.install else options.install
    python, folder = device.python or options.python, device.folder or options.folder
    return replace(options, name=device.name, python=python, folder=folder, install=install)


def _side_by_side(package: Package, visits: Mapping[str, tuple[Shell, Options]]) -> Iterator[tuple[str, DeviceReport | str]]:
    with ThreadPoolExecutor(max(1, len(visits))) as pool:
        started = {pool.submit(_one, package, *visit): name for name, visit in visits.items()}
        try:
            for future in track(as_completed(started), len(started), "devices"):
                yield started[future], future.result()
        except BaseException:
            for shell, _ in visits.values():
                shell.stop.set()
            raise


def _one(package: Package, shell: Shell, options: Options) -> DeviceReport | str:
    """The report, or the sentence of what went wrong."""
    try:
        return visit(package, shell, options)
    except (CxrEdgeError, OSError) as cause:
        return str(cause)
    except Exception as cause:  # whatever one device makes of it, the others go on
        logger.exception("%s", shell.where)
        return f"{shell.where}: {type(cause).__name__}: {cause}."
