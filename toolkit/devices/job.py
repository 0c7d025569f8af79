"""What a device is asked to do, and what it may give back."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from toolkit.core.codec import Frozen, decode, parse_json
from toolkit.core.recipe import BenchmarkSpec
from toolkit.core.reports import DeviceReport
from toolkit.devices.text import plain_tree
from toolkit.errors import DeviceError, InputError

NO_NUMBER = "gives no number for it"  # an artifact, of a film: the gate refuses that
MAX_RESULT_BYTES = 32_000_000
JOB, RESULT, BUNDLE, FILMS, FILM, WHEELS, RUNNER = "job.json", "result.json", "bundle", "films", "film", "wheels", "runner"


class Job(Frozen, frozen=True, kw_only=True):
    """Paths are relative to the job's file. `films`: a folder of films named by their SHA-256, whose scores are asked for. `film`: a
    picture for the file-to-logit time. `written_unix_s`: the workshop's clock when the job was written, to tell a clock that is behind."""

    device: str
    benchmark: BenchmarkSpec
    artifacts: tuple[str, ...] = ()
    bundle: str = BUNDLE
    films: str | None = None
    film: str | None = None
    written_unix_s: float | None = None


def read_result(path: Path) -> DeviceReport:
    """A result file of a device; raises InputError when it is missing, DeviceError when it is no result."""
    if not path.is_file():
        raise InputError(f"No result at {path}; give the result-HOSTNAME.json that a device wrote.")
    if path.stat().st_size > MAX_RESULT_BYTES:
        raise DeviceError(f"{path} has {path.stat().st_size} bytes; a result has at most {MAX_RESULT_BYTES}.")
    return parse_result(path.read_bytes(), str(path))


def parse_result(raw: bytes, where: str) -> DeviceReport:
    """A report from outside: read strictly, freed of control characters, its numbers in range. Raises DeviceError."""
    report = decode(plain_tree(parse_json(raw, where, DeviceError)), DeviceReport, where, DeviceError)
    if report.drift is not None:
        report = msgspec.structs.replace(report, drift=None)  # a verdict is ours to give
    for name, scores in report.scores.items():
        if not all(math.isfinite(score) and 0 <= score <= 1 for score in scores.values()):
            raise DeviceError(f"{where}: a score of {name} is no probability.")
    for row in report.latency.rows:
        if not (math.isfinite(row.p50_ms) and row.p50_ms > 0):
            raise DeviceError(f"{where}: {row.artifact} has a median of {row.p50_ms} ms, which no model takes.")
    return report
