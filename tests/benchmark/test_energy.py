"""Sensors of energy: counters that wrap, commands that print, and machines without any."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from toolkit.benchmark import energy
from toolkit.benchmark.energy import Counters, Watched, find_meter, rest_watts, tegra_watts


def package(root: Path, number: int, microjoules: int, most: int = 1000) -> Path:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(str(microjoules))
    (folder / "max_energy_range_uj").write_text(str(most))
    return folder


def test_packages_are_added_and_a_counter_may_begin_again(tmp_path: Path) -> None:
    one, other = package(tmp_path, 0, 900), package(tmp_path, 1, 100)
    meter = Counters([one, other])
    assert meter.joules() == 0
    package(tmp_path, 0, 950)
    package(tmp_path, 1, 130)
    assert meter.joules() == pytest.approx(80e-6)
    package(tmp_path, 0, 10)  # 60 further, over its range of 1000
    assert meter.joules() == pytest.approx(140e-6)


def test_only_whole_packages_are_found(tmp_path: Path) -> None:
    package(tmp_path, 0, 5)
    (tmp_path / "intel-rapl:0:0").mkdir()  # the cores of package 0: counted in it already
    meter = find_meter("onnxruntime", tmp_path)
    assert isinstance(meter, Counters)
    assert meter.joules() == 0


def test_without_a_sensor_there_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy.shutil, "which", lambda _: None)
    assert find_meter("openvino", tmp_path) == "this machine reports no energy: it has neither RAPL nor tegrastats"
    assert find_meter("tensorrt", tmp_path) == "nvidia-smi is not here"
    package(tmp_path, 0, 5)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert find_meter("openvino", tmp_path) == "RAPL's counters can be read by root only"


def test_a_line_of_tegrastats() -> None:
    assert tegra_watts("RAM 2461/7620MB CPU [5%@729] VDD_IN 4870mW/4912mW VDD_CPU_GPU_CV 603mW/615mW") == 4.87
    assert tegra_watts("RAM 1/2MB POM_5V_IN 3024/3100 POM_5V_GPU 0/0") == 3.024
    assert tegra_watts("RAM 2461/7620MB") is None


def test_readings_are_held_until_the_next_and_the_command_ends() -> None:
    command = (sys.executable, "-u", "-c", "import time\nwhile True:\n    print('40.0'); time.sleep(.02)")
    meter = Watched("fake", command, energy._plain_watts)
    deadline = time.monotonic() + 30
    while meter.joules() == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert rest_watts(meter, 0.3) == pytest.approx(40, rel=0.2)
    meter.close()
    assert meter._process.returncode is not None
