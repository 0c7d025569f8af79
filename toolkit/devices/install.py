"""The base install into an environment of its own, from a folder of wheels, without network.

`python -m toolkit.devices.install WHEELS PLACE`. Python's own library alone. Debian ships Python without ensurepip, so pip is taken from
its own wheel where the folder has one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from toolkit.core.privacy import QUIET
from toolkit.devices.probe import REQUIREMENTS

IMPORTS = "import click, msgspec, numpy, onnxruntime, PIL"


class InstallError(Exception):
    """Why it could not be installed, in one sentence."""


def environment(wheels: Path, place: Path) -> Path:
    """Make an environment at `place` with what the wheels hold; gives its Python. Raises InstallError."""
    pip = next(iter(sorted(wheels.glob("pip-*.whl"))), None)
    _call([sys.executable, "-m", "venv", *(["--without-pip"] if pip else []), str(place)], "no environment could be made")
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = [str(python), *([str(pip / "pip")] if pip else ["-m", "pip"]), "install"]
    options = ["--quiet", "--no-index", "--no-cache-dir", "--disable-pip-version-check", "--find-links", str(wheels)]
    _call([*install, *options, *REQUIREMENTS], "the wheels do not fit this machine")
    _call([str(python), "-c", IMPORTS], "what was installed does not run on this machine")
    return python


def _call(command: list[str], failure: str) -> None:
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=quiet | QUIET)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or [f"code {done.returncode}"]
        raise InstallError(f"{failure}: {errors[-1]}")


def main() -> int:
    """The command."""
    try:
        environment(Path(sys.argv[1]), Path(sys.argv[2]))
    except (InstallError, OSError) as cause:
        sys.stderr.write(f"{cause}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
