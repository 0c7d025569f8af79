"""What a device has: fed to its Python as text, before anything is copied. Python's own library alone, and any Python 3."""

import json
import os
import platform
import re
import sys
import time

# The base install of setup.cfg; a test compares them.
REQUIREMENTS = ("click>=8.1", "msgspec>=0.19", "numpy>=2.0,<2.5", "onnxruntime>=1.20", "pillow>=11")
OLDEST = (3, 11)
MARK = "cxr-edge-probe "


def describe():
    # type: () -> dict[str, object]
    """Python's version, machine, packages that are missing, home of temporary files, and its clock in seconds of Unix time."""
    return {
        "python": list(sys.version_info[:3]),
        "machine": platform.machine(),
        "system": platform.system(),
        "lacking": lacking() if sys.version_info[:2] >= OLDEST else [],
        "clock": time.time(),
        "host": re.sub(r"[^A-Za-z0-9_.-]", "-", platform.node()) or "unnamed",
        "user": os.getuid() if hasattr(os, "getuid") else -1,
    }


def lacking():
    # type: () -> list[str]
    """Packages of the base install that are not here, or too old, with what is here."""
    import importlib.metadata

    found = []
    for requirement in REQUIREMENTS:
        name, least = re.match(r"([a-z]+)>=([\d.]+)", requirement).groups()  # type: ignore[union-attr]
        try:
            here = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found.append(name)
            continue
        if _numbers(here) < _numbers(least):
            found.append("%s %s or newer (%s is there)" % (name, least, here))  # noqa: UP031
    return found


def _numbers(version):
    # type: (str) -> list[int]
    return [int(part) for part in re.findall(r"\d+", version)[:2]]


if __name__ == "__main__":
    sys.stdout.write(MARK + json.dumps(describe()) + "\n")
