"""What `run.py` on a USB stick does: check the stick, find or make an environment, measure, leave the result on the stick.

Python's own library alone. The bundle and the runner are copied to the machine first, so that the stick's speed is not measured.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from toolkit.core.privacy import QUIET
from toolkit.devices import digests, probe
from toolkit.devices.install import InstallError, environment

JOB, BUNDLE, FILMS, WHEELS, RUNNER = "job.json", "bundle", "films", "wheels", "runner"


class StickError(Exception):
    """Why it cannot be done, in one sentence."""


def main(stick: Path) -> int:
    """The command; 0 when a result lies on the stick."""
    try:
        with tempfile.TemporaryDirectory(prefix="cxr-edge-") as place:
            result = run(stick, Path(place))
    except (StickError, InstallError) as cause:
        return _say(f"Error: {cause}.", 1)
    except OSError as cause:
        return _say(f"Error: {cause.filename or stick}: {cause.strerror or cause}.", 1)
    except KeyboardInterrupt:
        return _say("Stopped; nothing is left on this machine.", 1)
    return _say(f"Done. The result is {result.name}, beside run.py; bring the stick back.", 0)


def run(stick: Path, place: Path) -> Path:
    """Measure with `place` for temporary files; gives the result's path. Raises StickError, InstallError, OSError."""
    _say("Checking the stick ...")
    damaged = digests.complaint(stick)
    if damaged:
        raise StickError(f"the stick is damaged: {damaged}; write it again")
    target = _free_name(stick)
    target.touch()  # a stick that takes no result is told of now, not after the measurement
    try:
        python = _python(stick, place)
        for name in (RUNNER, BUNDLE):
            shutil.copytree(stick / name, place / name)
        _say("Measuring; this takes some minutes. Leave the machine alone meanwhile ...")
        _measure(python, _job(stick, place), place)
        _leave(place / "result.json", target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return target


def _free_name(stick: Path) -> Path:
    """`result-HOSTNAME.json`, numbered when another machine of that name was here."""
    host = re.sub(r"[^A-Za-z0-9_.-]", "-", str(probe.describe()["host"]))[:60]
    names = (f"result-{host}{'' if number == 1 else f'-{number}'}.json" for number in range(1, 1000))
    return next(stick / name for name in names if not (stick / name).exists())


def _python(stick: Path, place: Path) -> str:
    """The Python to measure with: this one, or one of an environment that is made from the stick's wheels."""
    missing = probe.lacking()
    if not missing:
        return sys.executable
    if not (stick / WHEELS).is_dir():
        raise StickError(f"this machine lacks {', '.join(missing)}, and no wheels are on the stick; write it again with --wheels")
    _say(f"This machine lacks {', '.join(missing)}: installing into a folder that is removed afterwards ...")
    return str(environment(stick / WHEELS, place / "venv"))


def _job(stick: Path, place: Path) -> Path:
    """The stick's job for this machine."""
    job = json.loads((stick / JOB).read_text(encoding="utf-8"))
    job |= {"device": str(probe.describe()["host"]), "films": str((stick / FILMS).resolve()) if (stick / FILMS).is_dir() else None}
    (place / JOB).write_text(json.dumps(job), encoding="utf-8")
    return place / JOB


def _measure(python: str, job: Path, place: Path) -> None:
    (place / "tmp").mkdir()
    more = {"PYTHONPATH": str(place / RUNNER), "PYTHONSAFEPATH": "1", "TMPDIR": str(place / "tmp"), "TEMP": str(place / "tmp")}
    command = [python, "-m", "toolkit.devices.on_device", str(job), str(place / "result.json")]
    done = subprocess.run(command, env={**os.environ, **QUIET, **more}, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise StickError("it could not be measured; the line above says why")


def _leave(result: Path, target: Path) -> None:
    """Whole or not at all: written beside its place, flushed, moved in."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(result.read_bytes())
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _say(sentence: str, code: int = 0) -> int:
    sys.stderr.write(f"{sentence}\n")
    return code
