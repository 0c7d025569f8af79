"""The machine: what its processor can do and which runtimes are here."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from toolkit.core.latency import Host
from toolkit.core.libraries import installed
from toolkit.infer.machine import cpuinfo, features

LIBRARIES = ("cxr-edge", "numpy", "pillow", "onnxruntime", "openvino", "tensorrt-rtx-cu13", "tensorrt", "torch")

EMULATOR = "CXR_EDGE_EMULATOR"  # set by whoever starts us in one, such as device_tests/arm64.py


def describe_host() -> Host:
    """What `benchmark` and `doctor` say of this machine; what cannot be read is None or empty, never guessed."""
    info = cpuinfo()
    return Host(
        machine=platform.machine(),
        processor=_first(r"model name\s*:\s*(.+)", info) or platform.processor() or "unknown",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        features=features(),
        memory_mb=_memory_mb(),
        system=platform.platform(),
        python=platform.python_version(),
        libraries=installed(LIBRARIES),
        load_1min=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        emulator=os.environ.get(EMULATOR) or None,
    )


def _memory_mb() -> int | None:
    found = _first(r"MemTotal:\s*(\d+) kB", _read(Path("/proc/meminfo")))
    return int(found) // 1024 if found else None


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1].strip() if found else None


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
