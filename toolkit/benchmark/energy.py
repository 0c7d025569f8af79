"""Energy where a machine reports it: RAPL's counters (x86), tegrastats (Jetson), nvidia-smi (NVIDIA cards)."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

RAPL = Path("/sys/class/powercap")
REST_S = 1.0
EVERY_MS = 100
GPU_BACKENDS = ("tensorrt", "tensorrt-rtx")
NVIDIA = ("nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits", f"--loop-ms={EVERY_MS}")
TEGRA = ("tegrastats", "--interval", str(EVERY_MS))


class Meter(Protocol):
    """A sensor."""

    name: str

    def joules(self) -> float:
        """Energy since some start; only differences mean something."""
        ...

    def close(self) -> None:
        """Stop reading."""
        ...


class Counters:
    """RAPL: each package counts microjoules and begins again at its range."""

    name = "RAPL"

    def __init__(self, packages: list[Path]) -> None:
        self._packages = packages
        self._last = [self._read(package) for package in packages]
        self._total = 0

    def joules(self) -> float:
        """All packages together; must be asked more often than a counter wraps (about a minute at full load)."""
        for number, package in enumerate(self._packages):
            value = self._read(package)
            step = value - self._last[number]
            self._total += step if step >= 0 else step + int((package / "max_energy_range_uj").read_text())
            self._last[number] = value
        return self._total / 1e6

    def close(self) -> None:
        """Nothing is open."""

    @staticmethod
    def _read(package: Path) -> int:
        return int((package / "energy_uj").read_text())


class Watched:
    """A command that prints power again and again; its readings are added up in the background."""

    def __init__(self, name: str, command: tuple[str, ...], watts: Callable[[str], float | None]) -> None:
        self.name = name
        self._watts = watts
        self._total, self._power, self._since = 0.0, 0.0, time.monotonic()
        self._lock = threading.Lock()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def joules(self) -> float:
        """The readings so far, each held until the next."""
        with self._lock:
            self._add()
            return self._total

    def close(self) -> None:
        """Stop the command."""
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        if self._process.stdout:
            self._process.stdout.close()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            watts = self._watts(line)
            if watts is not None:
                with self._lock:
                    self._add()
                    self._power = watts

    def _add(self) -> None:
        moment = time.monotonic()
        self._total += self._power * (moment - self._since)
        self._since = moment


def find_meter(backend: str, root: Path = RAPL) -> Meter | str:
    """The sensor for what this backend runs on, or why there is none."""
    if backend in GPU_BACKENDS and shutil.which(NVIDIA[0]):
        return Watched("nvidia-smi", NVIDIA, _plain_watts)
    if shutil.which(TEGRA[0]):
        return Watched("tegrastats", TEGRA, tegra_watts)
    if backend in GPU_BACKENDS:
        return "nvidia-smi is not here"
    packages = sorted(path for path in root.glob("intel-rapl:*") if re.fullmatch(r"intel-rapl:\d+", path.name))
    if not packages:
        return "this machine reports no energy: it has neither RAPL nor tegrastats"
    try:
        return Counters(packages)
    except OSError:
        return "RAPL's counters can be read by root only"


def tegra_watts(line: str) -> float | None:
    """Of the whole board, from a line of tegrastats such as 'VDD_IN 4870mW/4912mW'; None where it has no such rail."""
    found = re.search(r"\b(?:VDD_IN|POM_5V_IN)\s+(\d+)(?:mW)?/", line)
    return int(found[1]) / 1000 if found else None


def _plain_watts(line: str) -> float | None:
    return float(line) if re.fullmatch(r"\d+(\.\d+)?", line.strip()) else None


def rest_watts(meter: Meter, seconds: float = REST_S) -> float:
    """What it reads while we do nothing."""
    before, started = meter.joules(), time.monotonic()
    time.sleep(seconds)
    return (meter.joules() - before) / (time.monotonic() - started)
