"""The machine's counters, read from a made-up tree of files, and a real hog beside a measurement."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolkit.benchmark.load import Moment, disturbance, now, state, throttled
from toolkit.core.latency import State

CORES = os.cpu_count() or 1


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def board(root: Path) -> Path:
    """Four cores, two of them described, a hot sensor and a cool one."""
    for core, khz in ((0, 1_500_000), (1, 1_300_000)):
        folder = root / "sys/devices/system/cpu" / f"cpu{core}"
        for name, text in (("scaling_governor", "ondemand"), ("scaling_cur_freq", str(khz))):
            (folder / "cpufreq").mkdir(parents=True, exist_ok=True)
            (folder / "cpufreq" / name).write_text(text + "\n")
    for zone, value in (("thermal_zone0", "48312"), ("thermal_zone1", "61000"), ("thermal_zone2", "")):
        (root / "sys/class/thermal" / zone).mkdir(parents=True)
        (root / "sys/class/thermal" / zone / "temp").write_text(value)
    put(root, proc__loadavg="0.52 0.40 0.30 1/100 200", proc__meminfo="MemTotal: 4000000 kB\nMemAvailable:    2097152 kB")
    return root


def test_state_of_a_board(tmp_path: Path) -> None:
    found = state(board(tmp_path))
    assert found == State(governor="ondemand", frequency_mhz=1400, temperature_c=61.0, throttled=None, load_1min=0.52, memory_free_mb=2048)


def test_what_is_not_told_is_none(tmp_path: Path) -> None:
    assert state(tmp_path) == State()
    moment = now(tmp_path)
    assert (moment.busy, moment.stolen, moment.throttled) == (None, None, None)
    assert disturbance(moment, now(tmp_path)) == ""


def test_throttling_of_intel_and_of_a_raspberry(tmp_path: Path) -> None:
    for core, count in ((0, 3), (1, 4)):
        folder = tmp_path / "sys/devices/system/cpu" / f"cpu{core}" / "thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(f"{count}\n")
    assert throttled(tmp_path) == 7
    pi = tmp_path / "pi/sys/devices/platform/soc/soc:firmware"
    pi.mkdir(parents=True)
    (pi / "get_throttled").write_text("50005\n")  # under-voltage and throttled, now and since the start
    assert throttled(tmp_path / "pi") == 4


def test_frequency_from_cpuinfo(tmp_path: Path) -> None:
    put(tmp_path, proc__cpuinfo="processor : 0\ncpu MHz\t\t: 2000.000\nprocessor : 1\ncpu MHz\t\t: 3000.000")
    assert state(tmp_path).frequency_mhz == 2500


def test_busy_and_stolen_seconds(tmp_path: Path) -> None:
    put(tmp_path, proc__stat="cpu  100 20 30 9999 777 4 6 50 0 0\ncpu0 1 2 3 4")
    tick = os.sysconf("SC_CLK_TCK")
    moment = now(tmp_path)
    assert (moment.busy, moment.stolen) == (160 / tick, 50 / tick)


def test_disturbance_by_hand() -> None:
    before = Moment(clock=100.0, busy=50.0, stolen=1.0, own=10.0, throttled=0)
    quiet = Moment(clock=110.0, busy=60.5, stolen=1.0, own=20.0, throttled=0)  # .5 s of others in 10 s
    assert disturbance(before, quiet) == ""
    assert disturbance(before, quiet._replace(busy=68.0)) == f"other work took 0.8 of {CORES} cores"
    assert disturbance(before, quiet._replace(stolen=1.0 + CORES)) == "the host of this virtual machine took 10 % of its time"
    assert disturbance(before, quiet._replace(throttled=1)) == "the processor slowed itself down"
    moment = before._replace(clock=100.01, busy=50.03)  # three ticks of the kernel say nothing
    assert disturbance(before, moment) == ""


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="this system has no /proc/stat")
def test_a_process_that_hogs_a_core_is_told() -> None:
    hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.3)
        before = now()
        time.sleep(1.0)
        assert "other work took" in disturbance(before, now())
    finally:
        hog.kill()
        hog.wait()
