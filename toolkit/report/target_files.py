"""Where the reports of machines lie in a run's folder: read, checked against the bundle, added whole or not at all."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from toolkit.core.bundle import MANIFEST, Bundle
from toolkit.core.codec import decode, parse_json
from toolkit.core.files import sha256_of_bytes, write_atomically
from toolkit.core.latency import LatencyReport
from toolkit.core.reports import DeviceReport, RunReport
from toolkit.core.text import printable
from toolkit.errors import DeviceError, InputError
from toolkit.report.targets import Measured

FOLDER, REPORT, BUNDLE = "targets", "report.json", "bundle"
OWN, INDEX = "own-machine", "index"
MAX_REPORT_BYTES = 50_000_000
NAME_LENGTH = 60


Judge = Callable[[DeviceReport, Bundle], DeviceReport]
UNJUDGED = "it scored films, and no verdict was given on them"


def unjudged(report: DeviceReport, _: Bundle) -> DeviceReport:
    """Gives no verdict, and says so."""
    return msgspec.structs.replace(report, problems=(*report.problems, UNJUDGED))


class Opened(NamedTuple):
    """A finished run, or a sealed bundle with its report beside it. `judge` gives the verdict on scores that a device brought without
    one, as a stick from a clinic does."""

    folder: Path
    bundle: Bundle
    report: RunReport
    judge: Judge = unjudged

    @property
    def targets(self) -> Path:
        """Where reports of other machines and the pages lie."""
        return self.folder / FOLDER

    @property
    def own(self) -> Measured:
        """The machine that made the bundle; its drift is what the bundle was sealed with."""
        return Measured(OWN, "the machine that made the bundle", self.report.latency)


class Added(NamedTuple):
    """A report that was read: its bytes, what it says, and where it belongs."""

    source: Path
    raw: bytes
    measured: Measured


def open_run(folder: Path, judge: Judge = unjudged) -> Opened:
    """Raises InputError when no report lies there, or it is of another bundle; BundleError when the bundle is damaged."""
    place = folder if (folder / MANIFEST).is_file() else folder / BUNDLE
    if not (folder / REPORT).is_file():
        raise InputError(f"No finished run at {folder}: there is no {REPORT} in it; give the folder that compress wrote, RUN.")
    bundle = Bundle(place)
    report = decode(parse_json(_bytes(folder / REPORT), f"{folder / REPORT}"), RunReport, f"{folder / REPORT}")
    if report.bundle_sha256 != bundle.sha256:
        raise InputError(f"{folder / REPORT} is of bundle {report.bundle_sha256[:12]}, {place} is {bundle.sha256[:12]}; compress again.")
    return Opened(folder, bundle, report, judge)


def read_report(path: Path, run: Opened) -> Added:
    """A DeviceReport or LatencyReport of this run's bundle, strictly; raises InputError that says what is wrong with the file."""
    raw = _bytes(path)
    data = parse_json(raw, str(path))
    keys = set(data) if isinstance(data, dict) else set()
    if {"host", "rows"} <= keys:
        measured = _of_latency(decode(data, LatencyReport, str(path)), path, run.bundle)
    elif "latency" in keys and "bundle_sha256" in keys:
        measured = _of_device(decode(data, DeviceReport, str(path)), path, run)
    else:
        raise InputError(f"{path} is no report of a machine: expected what cxr-edge benchmark --json or a device's kit wrote.")
    _refuse_strangers(measured.latency, path, run.bundle)
    return Added(path, raw, measured)


def place_for(folder: Path, measured: Measured) -> Path:
    """Where a machine's report belongs: its own earlier one, or a free name."""
    path = folder / f"{measured.name}.json"
    apart = folder / f"{measured.name}-{sha256_of_bytes(measured.device.encode())[:8]}.json"  # of two whose names differ only in marks
    taken = path.is_file() and _device_of(path) not in (None, measured.device)
    return apart if taken or apart.is_file() else path


def add(run: Opened, files: Sequence[Path]) -> list[tuple[Path, Path, bool]]:
    """Copy reports into the run: (source, place, whether it replaced an earlier one). None is copied when one of them cannot be used."""
    read = [read_report(file, run) for file in files]
    done = []
    for added in read:
        place = place_for(run.targets, added.measured)
        done.append((added.source, place, place.is_file()))
        write_atomically(place, added.raw)
    return done


def read_all(run: Opened) -> tuple[list[Measured], dict[str, str]]:
    """The run's own machine, then all that were added, by name; and files that cannot be shown, with the reason."""
    found, left_out = [run.own], {}
    for path in sorted(run.targets.glob("*.json")):
        if path.stem in (OWN, INDEX):
            left_out[path.name] = "a page of the comparison has this name; rename the file"
            continue
        try:
            found.append(read_report(path, run).measured._replace(name=path.stem))
        except InputError as cause:
            left_out[path.name] = str(cause)
    return found, left_out


def safe_name(device: str) -> str:
    """Letters, digits and hyphens of a name that came from outside; never one that the folder needs itself."""
    plain = unicodedata.normalize("NFKD", device).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain)[:NAME_LENGTH].strip("-")
    return name if name not in ("", OWN, INDEX) else f"device-{name}".rstrip("-")


def _of_latency(report: LatencyReport, path: Path, bundle: Bundle) -> Measured:
    name = safe_name(path.stem)
    if not report.bundle_sha256:
        return Measured(
            name, name, report, problems=("the report does not name its bundle; this one has artifacts of its names and sizes",)
        )
    _refuse_another(report.bundle_sha256, "", path, bundle)
    return Measured(name, name, report, report.taken)


def _refuse_another(sha256: str, name: str, path: Path, bundle: Bundle) -> None:
    if sha256 != bundle.sha256:
        raise InputError(
            f"{path} was measured with another bundle: {printable(f'{name} {sha256[:12]}')}, and this one is"
            f" {bundle.manifest.name} {bundle.sha256[:12]}. Measure this bundle on the device, or add the file to the other run."
        )


def _of_device(report: DeviceReport, path: Path, run: Opened) -> Measured:
    bundle = run.bundle
    _refuse_another(report.bundle_sha256, report.bundle, path, bundle)
    if not all(0 <= score <= 1 for found in report.scores.values() for score in found.values()):
        raise InputError(f"{path} has a score that is no probability, 0 to 1; measure again.")
    if report.scores and report.drift is None:
        try:
            report = run.judge(report, bundle)
        except DeviceError as cause:
            raise InputError(f"{path}: {cause}") from cause
    device = printable(report.device.strip()) or "device"
    return Measured(safe_name(report.device), device, report.latency, report.taken, report.drift, report.unusable, report.problems)


def _refuse_strangers(latency: LatencyReport, path: Path, bundle: Bundle) -> None:
    """Times that are none, and artifacts that bear a name of this bundle with another size."""
    sizes = {artifact.name: artifact.bytes for artifact in bundle.manifest.artifacts}
    for row in latency.rows:
        if not (row.p50_ms > 0 and row.images_per_s > 0 and row.threads > 0 and row.batch > 0):
            raise InputError(f"{path} has a row of {printable(row.artifact)} that is no measurement: times and counts are above 0.")
        if row.model_bytes != sizes.get(row.artifact, row.model_bytes):
            raise InputError(
                f"{path} is of another bundle: its {row.artifact} has {row.model_bytes} bytes, here it has {sizes[row.artifact]}."
            )
    if not sizes.keys() & ({row.artifact for row in latency.rows} | {skip.artifact for skip in latency.skipped}):
        raise InputError(f"{path} is of another bundle: it knows no artifact of {bundle.folder}, which has {', '.join(sizes)}.")


def _bytes(path: Path) -> bytes:
    """All of a file that is none too large; raises InputError otherwise."""
    if not path.is_file():
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; expected the JSON file of a machine's report.")
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_REPORT_BYTES + 1)
    except OSError as cause:
        raise InputError(f"{path} cannot be read: {cause.strerror}.") from cause
    if len(raw) > MAX_REPORT_BYTES:
        raise InputError(f"{path} has more than {MAX_REPORT_BYTES // 1_000_000} MB, more than any report of a machine.")
    return raw


def _device_of(path: Path) -> str | None:
    """Whose report lies there; None when it cannot be read."""
    try:
        data = parse_json(_bytes(path), str(path))
    except InputError:
        return None
    return (printable(str(data.get("device", path.stem)).strip()) or "device") if isinstance(data, dict) else None
