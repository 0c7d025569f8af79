"""What else the machine did while we measured, and how it was before and after."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import NamedTuple

from toolkit.core.latency import State

ROOT = Path("/")
OTHER_CORES = 0.2  # of one core: beyond that, a measurement is disturbed
STOLEN_PCT = 2.0
LEAST_S = 0.05  # the kernel counts in hundredths of a second


class Moment(NamedTuple):
    """Seconds since some start: all processors' busy and stolen time, this process's own, and the clock's; None where it is not told."""

    clock: float
    busy: float | None
    stolen: float | None
    own: float
    throttled: int | None


def now(root: Path = ROOT) -> Moment:
    """The counters at this moment."""
    own = os.times()
    busy, stolen = _processors(root)
    return Moment(time.monotonic(), busy, stolen, own.user + own.system + own.children_user + own.children_system, throttled(root))


def disturbance(before: Moment, after: Moment) -> str:
    """What disturbed the time between two moments, in words; empty when nothing did, or the machine does not tell."""
    found = []
    seconds = max(after.clock - before.clock, 1e-9)
    if before.busy is not None and after.busy is not None:
        other = after.busy - before.busy - (after.own - before.own)
        if other > max(OTHER_CORES * seconds, LEAST_S):
            found.append(f"other work took {other / seconds:.1f} of {os.cpu_count()} cores")
    if before.stolen is not None and after.stolen is not None:
        stolen = 100 * (after.stolen - before.stolen) / (seconds * (os.cpu_count() or 1))
        if stolen > STOLEN_PCT:
            found.append(f"the host of this virtual machine took {stolen:.0f} % of its time")
    if before.throttled is not None and after.throttled is not None and after.throttled > before.throttled:
        found.append("the processor slowed itself down")
    return "; ".join(found)


def state(root: Path = ROOT) -> State:
    """Governor, frequency, temperature, throttling, load and memory at this moment; None for what the machine does not tell."""
    cpus = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    governors = sorted({_text(cpu / "scaling_governor") for cpu in cpus} - {""})
    free = re.search(r"MemAvailable:\s*(\d+) kB", _text(root / "proc/meminfo"))
    load = re.match(r"[\d.]+", _text(root / "proc/loadavg"))
    zones = [_number(path) for path in (root / "sys/class/thermal").glob("thermal_zone*/temp")]
    return State(
        governor=", ".join(governors) or None,
        frequency_mhz=_frequency_mhz(root, cpus),
        temperature_c=max((zone / 1000 for zone in zones if zone is not None), default=None),
        throttled=throttled(root),
        load_1min=float(load[0]) if load else None,
        memory_free_mb=int(free[1]) // 1024 if free else None,
    )


def throttled(root: Path = ROOT) -> int | None:
    """How often the processor slowed itself down since it was started: Intel's counters, or the bits of a Raspberry Pi's firmware."""
    counts = [_number(path) for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    known = [int(count) for count in counts if count is not None]
    firmware = _text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if re.fullmatch(r"[0-9a-fA-F]+", firmware):
        known.append(int(firmware, 16).bit_count())
    return sum(known) if known else None


def _frequency_mhz(root: Path, cpus: list[Path]) -> float | None:
    mhz = [value / 1000 for value in (_number(cpu / "scaling_cur_freq") for cpu in cpus) if value is not None]
    mhz = mhz or [float(found) for found in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", _text(root / "proc/cpuinfo"), re.MULTILINE)]
    return sum(mhz) / len(mhz) if mhz else None


def _processors(root: Path) -> tuple[float | None, float | None]:
    """Busy and stolen seconds of all processors; waiting for a disk is not work."""
    found = re.match(r"cpu +(.+)", _text(root / "proc/stat"))
    if not found:
        return None, None
    user, nice, system, _idle, _wait, irq, soft, stolen = (int(part) / os.sysconf("SC_CLK_TCK") for part in found[1].split()[:8])
    return user + nice + system + irq + soft, stolen


def _number(path: Path) -> float | None:
    text = _text(path)
    return float(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else None


def _text(path: Path) -> str:
    """What a file of the kernel says; empty when there is none, or its sensor does not answer."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
