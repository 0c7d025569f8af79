"""Which artifacts give their sealed answers on which processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.core.target import Target
from toolkit.infer import machine, on_openvino

VNNI, OLD, ARM = "flags : avx2 avx512f avx512_vnni avx512_bf16", "flags : sse4_2 avx2", "Features : fp asimd asimddp"

OVERFLOWS = "its sums of bytes would overflow on x86 without VNNI, where it is calculated in single precision"


def is_(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, info: str, name: str = "x86_64") -> None:
    (tmp_path / "cpuinfo").write_text(info + "\n")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: name)


@pytest.mark.parametrize(("info", "name", "family"), [(VNNI, "x86_64", "x86-vnni"), (OLD, "x86_64", "x86"), (ARM, "aarch64", "arm64")])
def test_the_family_is_read(info: str, name: str, family: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    is_(monkeypatch, tmp_path, info, name)
    assert machine.family() == family


def test_a_system_without_cpuinfo_counts_as_an_old_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    assert machine.family() == "x86"
    assert machine.features() == ()


@pytest.mark.parametrize(
    ("name", "info", "reason"),
    [
        ("onnxruntime-int8", VNNI, None),
        ("onnxruntime-int8", OLD, None),
        ("openvino-bf16", VNNI, None),
        ("openvino-bf16", OLD, "this processor does not calculate in bfloat16"),
    ],
)
def test_why_an_artifact_cannot_run(name: str, info: str, reason: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    is_(monkeypatch, tmp_path, info)
    assert machine.why_not(Target.from_name(name)) == reason


@pytest.mark.parametrize(
    ("name", "info", "reason"),
    [
        ("onnxruntime-int8", VNNI, None),
        ("onnxruntime-int8", OLD, OVERFLOWS),
        ("onnxruntime-int8-arm64", OLD, OVERFLOWS),
        ("onnxruntime-int8-arm64", VNNI, None),
        ("onnxruntime-int8-x86", OLD, None),
        ("onnxruntime-fp32", OLD, None),
        ("openvino-int8", OLD, OVERFLOWS),
        ("openvino-int8", VNNI, None),
        ("openvino-bf16", OLD, "this processor does not calculate in bfloat16"),
    ],
)
def test_why_an_artifact_is_not_timed(name: str, info: str, reason: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    is_(monkeypatch, tmp_path, info)
    assert machine.why_not_timed(Target.from_name(name)) == reason


def test_tensorrts_int8_graph_is_calculated_as_it_is_written_on_any_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for info in (VNNI, OLD):
        is_(monkeypatch, tmp_path, info)
        assert not machine.adds_bytes_exactly(Target.from_name("tensorrt-int8"))


def test_a_missing_runtime_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_openvino, "is_available", lambda: False)
    assert machine.why_not(Target.from_name("openvino-int8")) == "openvino is not installed: pip install 'cxr-edge[openvino]'"


def test_openvino_names_the_devices_that_it_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Core:
        available_devices = ("CPU", "GPU.0")

    monkeypatch.setattr("openvino.Core", Core)
    assert machine.why_not(Target.from_name("openvino-fp16-gpu")) is None
    assert machine.why_not(Target.from_name("openvino-fp16-npu")) == "OpenVINO finds no NPU here, only CPU, GPU.0"
