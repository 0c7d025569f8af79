"""Which artifact a machine should use: hand arithmetic, no page, no plot."""

from __future__ import annotations

import pytest

from tests.report.machines import FP32, HOSTILE, INT8, OPENVINO, artifact, drift, drift_row, full_row, host, latency, manifest, offline, row
from toolkit.core.drift import DriftReport
from toolkit.core.latency import ColdStart, LatencyReport, LatencyRow, Skipped, State
from toolkit.core.reports import TargetPoint
from toolkit.report.target_facts import UNTOLD, facts
from toolkit.report.target_files import safe_name
from toolkit.report.targets import Measured, best_rows, chosen, compared, pareto, points, uncertain


def measured(*rows: LatencyRow, judged: DriftReport | None = None, **more: object) -> Measured:
    return Measured("name", "Name", latency(*rows, **more), drift=judged)  # type: ignore[arg-type]


def point(name: str, ms: float | None, size: int, loss: float | None, usable: bool = True, disturbed: str = "") -> TargetPoint:
    return TargetPoint(
        artifact=name,
        bytes=size,
        threads=1,
        p50_ms=ms,
        end_to_end_p50_ms=None,
        disturbed=disturbed,
        verdict="pass",
        judged="sealed",
        recall_loss_pt=loss,
        recall_loss_upper95_pt=None,
        usable=usable,
    )


def line_of(one: Measured) -> str:
    return compared(one, manifest()).line


def reason_of(one: Measured, name: str, *artifacts: object) -> str:
    found = points(one, artifacts or manifest().artifacts)  # type: ignore[arg-type]
    return next(point for point in found if point.artifact == name).reason


def test_the_first_line_says_what_to_use_in_plain_words() -> None:
    found = measured(row(FP32, 4.0), row(INT8, 2.0, 1), row(INT8, 1.5, 2), row(OPENVINO, 3.0))
    assert line_of(found) == (
        "On this machine, use onnxruntime-int8: 6.50 ms a film from file to answer (2 threads), 2.80 MB, recall loss 0.50 points (at most 1.60)."
    )


def test_a_report_without_end_to_end_times_says_that_it_is_the_model_alone() -> None:
    found = measured(row(FP32, 4.0, end_to_end_p50_ms=None))
    assert line_of(found).startswith(
        "On this machine, use onnxruntime-fp32: 4.00 ms a film, model alone without reading the file (1 thread), 11.20 MB"
    )


def test_an_unknown_loss_is_not_called_none() -> None:
    found = compared(measured(row(FP32, 4.0)), manifest(artifact(FP32, None)))
    assert found.line.endswith("11.20 MB, recall loss not known.")
    assert not found.points[0].pareto


def test_offline_rows_choose_nothing() -> None:
    assert chosen(points(measured(offline(INT8, 0.01, 1, 16), row(FP32, 4.0)), manifest().artifacts)).artifact == FP32  # type: ignore[union-attr]


def test_the_least_disturbed_row_of_an_artifact_counts() -> None:
    disturbed = row(FP32, 3.0, 2, disturbed="other work took 0.8 of 2 cores")
    assert best_rows([disturbed, row(FP32, 4.0)])[FP32].p50_ms == 4.0
    assert best_rows([disturbed, row(FP32, 5.0, 1, disturbed="it too")])[FP32].p50_ms == 3.0


def test_what_is_fastest_although_it_was_disturbed_is_used_and_marked() -> None:
    found = measured(row(FP32, 9.0), row(INT8, 2.0, disturbed="other work took 0.8 of 2 cores"))
    assert "use onnxruntime-int8: 7.00 ms" in line_of(found)
    assert line_of(found).endswith(
        "It was disturbed while it was timed, so this time is too long rather than too short: other work took 0.8 of 2 cores."
    )
    assert uncertain(points(found, manifest().artifacts)) == ""


def test_what_was_disturbed_and_seems_slower_is_named_beside_the_choice() -> None:
    found = measured(row(FP32, 2.0), row(INT8, 9.0, disturbed="the processor slowed itself down"))
    assert "use onnxruntime-fp32" in line_of(found)
    assert uncertain(points(found, manifest().artifacts)) == (
        "Disturbed while timed, so perhaps faster than it looks: onnxruntime-int8 (9.00 ms, the processor slowed itself down)."
    )


def test_of_equal_times_the_smaller_is_used() -> None:
    assert chosen([point("a", 1.0, 20, 0.0), point("b", 1.0, 10, 0.0)]).artifact == "b"  # type: ignore[union-attr]
    assert chosen([point("a", None, 20, 0.0), point("b", 1.0, 10, 0.0, usable=False)]) is None


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ({"a": (1.0, 10, 0.0), "b": (2.0, 20, 0.5)}, {"a"}),  # better in all three
        ({"a": (1.0, 20, 0.5), "b": (2.0, 10, 0.5), "c": (3.0, 30, 0.0), "d": (3.0, 20, 0.5)}, {"a", "b", "c"}),  # a beats d at equal bytes
        ({"a": (1.0, 10, 0.0), "b": (1.0, 10, 0.0)}, {"a", "b"}),  # equal ones beat each other not
        ({"a": (1.0, 10, -0.5), "b": (0.9, 10, 0.0)}, {"a", "b"}),  # a gain is a smaller loss
        ({}, set()),
    ],
)
def test_the_pareto_set(costs: dict[str, tuple[float, int, float]], expected: set[str]) -> None:
    assert pareto([point(name, *cost) for name, cost in costs.items()]) == expected


def test_what_must_not_be_used_beats_nothing() -> None:
    assert pareto([point("a", 1.0, 1, 0.0, usable=False), point("b", 2.0, 2, 1.0)]) == {"b"}


def test_a_sealed_fail_is_not_used_although_it_is_the_fastest() -> None:
    found = compared(measured(row(FP32, 4.0), row(INT8, 1.0)), manifest(artifact(FP32), artifact(INT8, 3.25, "fail")))
    assert found.artifact == FP32
    assert found.points[1].reason == "failed its gate when it was sealed: recall loss 3.25 points, limit 1"
    assert (found.points[1].verdict, found.points[1].judged) == ("fail", "sealed")


def test_the_devices_own_films_can_speak_against_an_artifact() -> None:
    judged = drift(drift_row(FP32), drift_row(INT8, "fail", 3.2), skipped={OPENVINO: "OpenVINO is not installed"})
    found = compared(measured(row(FP32, 4.0), row(INT8, 1.0), row(OPENVINO, 1.0), judged=judged), manifest())
    assert found.artifact == FP32
    assert [one.judged for one in found.points] == ["device", "device", "nowhere"]
    assert found.points[1].reason == "failed on the films that this device scored: lost 3.20 points of recall, limit 1"
    assert found.points[2].reason == "was not judged here: OpenVINO is not installed"
    assert "recall loss 0.00 points (at most 2.00)" in found.line  # what the device found, not what was sealed


def test_a_few_films_on_a_device_do_not_clear_a_sealed_fail() -> None:
    found = measured(row(INT8, 1.0), judged=drift(drift_row(INT8)))
    assert reason_of(found, INT8, artifact(INT8, 3.25, "fail")) == "failed its gate when it was sealed: recall loss 3.25 points, limit 1"


def test_what_could_not_be_judged_when_it_was_sealed_is_judged_by_the_device() -> None:
    unsealed = artifact("openvino-fp16-gpu", verdict=None, size=10)
    fast = row("openvino-fp16-gpu", 1.0, backend="openvino", model_bytes=10)
    assert "was never held against the dense network" in reason_of(measured(fast), unsealed.name, unsealed)
    assert reason_of(measured(fast, judged=drift(drift_row(unsealed.name))), unsealed.name, unsealed) == ""


def test_the_sealed_verdict_holds_only_on_processors_that_the_form_is_for() -> None:
    arm = measured(row(INT8, 1.0), row(FP32, 3.0), on=host("Cortex-A76", "aarch64", ("asimd",)))
    assert reason_of(arm, INT8) == "is for x86-vnni, and no films were scored here that would show that it is right on this processor"
    assert reason_of(arm, FP32) == ""
    assert reason_of(arm._replace(drift=drift(drift_row(INT8))), INT8) == ""


def test_a_machine_with_nothing_to_use_is_told_why() -> None:
    skipped = (Skipped(artifact=OPENVINO, reason="openvino is not installed."),)
    found = compared(measured(skipped=skipped), manifest(artifact(FP32, 4.0, "fail"), artifact(OPENVINO)))
    assert found.artifact is None
    assert found.line == (
        "On this machine, use none: onnxruntime-fp32 failed its gate when it was sealed: recall loss 4.00 points, limit 1;"
        " openvino-int8 was not timed here: openvino is not installed."
    )


def test_times_of_an_emulator_are_no_times() -> None:
    found = compared(
        measured(row(FP32, 4.0), on=host(emulator="qemu-aarch64 8.2"), judged=drift(drift_row(FP32))), manifest(artifact(FP32))
    )
    assert found.line == "This is no machine but an emulator (qemu-aarch64 8.2): times of an emulator, not compared."
    assert found.artifact is None
    (one,) = found.points
    assert (one.p50_ms, one.usable, one.pareto) == (None, False, False)
    assert one.verdict == "pass"  # its answers count all the same


def sheet(one: Measured) -> dict[str, str]:
    return facts(one, points(one, manifest().artifacts))


def test_the_facts_of_a_full_report() -> None:
    full = measured(
        full_row(INT8, 2.0, 2),
        offline(INT8, 2.0, 2, 16),
        before=State(governor="powersave", frequency_mhz=1100.0, temperature_c=41.2, throttled=3),
        after=State(governor="powersave", frequency_mhz=900.0, temperature_c=77.6, throttled=9),
        cold_start=ColdStart(artifact=INT8, runs=5, wall_p50_s=0.9, wall_max_s=1.4, peak_rss_mb=None),
        skipped=(Skipped(artifact=OPENVINO, reason="not installed"),),
    )
    found = sheet(full)
    assert found["use"] == found["Pareto set"] == INT8
    assert found["p50, model alone"] == "2.00 ms (1.98 to 2.02), 1000 runs"
    assert found["load, then first inference"] == "40.00 ms, 6.00 ms"
    assert found["most films/s"] == "556 (batch 16, 2 threads)"  # 16 films in 0.9 * 2.0 * 16 ms
    assert found["cold start"] == "0.90 s, at most 1.40 s in 5 runs of onnxruntime-int8"
    assert found["energy of a film"] == "no sensor of energy here"
    assert found["governor"] == "powersave"
    assert found["frequency, MHz"] == "1100, then 900"
    assert found["hottest sensor, °C"] == "41, then 78"
    assert found["throttled meanwhile"] == "yes, its counter rose by 6"
    assert found["does not run here"] == "openvino-int8: not installed"


def test_an_older_report_has_the_same_facts_and_says_what_it_does_not_tell() -> None:
    old, full = sheet(measured(row(INT8, 2.0))), sheet(measured(full_row(INT8, 2.0, energy_mj=12.34)))
    assert list(old) == list(full) == list(sheet(measured()))
    assert old["hottest sensor, °C"] == old["throttled meanwhile"] == old["measured"] == UNTOLD
    assert old["p50, model alone"] == "2.00 ms, 1000 runs"
    assert full["energy of a film"] == "12.3 mJ"
    assert sheet(measured())["use"] == "none"


def test_the_facts_of_an_emulator_hold_no_time() -> None:
    one = measured(full_row(INT8, 2.0), on=host(emulator="qemu"))
    assert not any(" ms" in value for value in sheet(one).values())


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("Raspberry Pi 5", "raspberry-pi-5"),
        (HOSTILE, "x-script-alert-x-1-script-2j"),
        ("../..", "device"),
        ("病院", "device"),
        ("index", "device-index"),
        ("Own machine", "device-own-machine"),
        ("Çorlu Devlet", "corlu-devlet"),
        ("a" * 300, "a" * 60),
    ],
)
def test_names_of_files_are_safe(device: str, expected: str) -> None:
    assert safe_name(device) == expected


def test_a_report_of_a_machine_without_rows_is_none_that_can_be_used() -> None:
    empty = Measured("n", "N", LatencyReport(host=host(), rows=()))
    assert compared(empty, manifest()).line.count("was not timed here") == 3
