"""Plots of machines: what they show, what they refuse to draw, names from outside."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from tests.report.machines import FP32, INT8, OPENVINO, SIZES, artifact, full_latency, full_row, host, latency, manifest, offline, row
from toolkit.core.latency import State
from toolkit.core.target import ArtifactName
from toolkit.report import target_plots
from toolkit.report.targets import Measured, compared


def measured(name: str = "a", scale: float = 1.0) -> Measured:
    return Measured(name, name.upper(), full_latency(scale, host(), 4))


def texts(picture: bytes | None) -> list[str]:
    assert picture is not None
    return re.findall(r"<!-- (.+?) -->", picture.decode())


def test_the_distribution_has_a_lane_for_each_row_with_or_without_a_histogram() -> None:
    lanes = [("new", full_row(INT8, 2.0)), ("old", row(FP32, 4.0)), ("oldest", row(FP32, 4.0, p90_ms=None, p99_ms=None))]
    assert {"new", "old", "oldest", "p50", "p90", "p99"} <= set(texts(target_plots.distribution(lanes)))
    assert target_plots.distribution([]) is None


@pytest.mark.parametrize("more", [{"histogram_counts": (1, 2)}, {"histogram_edges_ms": ()}, {"histogram_counts": (0,) * 40}])
def test_a_histogram_that_is_none_is_not_drawn(more: dict[str, object]) -> None:
    assert target_plots.distribution([("a", full_row(INT8, 2.0, **more))]) == target_plots.distribution(
        [("a", full_row(INT8, 2.0, histogram_counts=(), histogram_edges_ms=()))]
    )


def test_the_trade_names_each_artifact_with_its_size() -> None:
    found = compared(measured(), manifest()).points
    assert {"onnxruntime-fp32, 11.2 MB", "onnxruntime-int8, 2.8 MB", "openvino-int8, 2.8 MB"} <= set(texts(target_plots.trade(found)))
    assert target_plots.trade(compared(Measured("a", "A", latency()), manifest()).points) is None


def boxes(picture: bytes | None, names: set[str]) -> list[tuple[float, float, float]]:
    """Left, base line and width of each text, in points."""
    found = re.findall(r"<!-- (.+?) -->\s*<g[^>]*translate\(([\d.]+) ([\d.]+)\)", (picture or b"").decode())
    return [(float(left), float(low), 4.0 * len(text)) for text, left, low in found if text in names]


def test_names_in_the_trade_do_not_cover_each_other() -> None:
    names = get_args(ArtifactName)
    sealed = manifest(*(artifact(name, 0.5, size=2_000_000) for name in names))
    rows = [row(name, 1 + number**2 / 8, model_bytes=2_000_000, backend="any") for number, name in enumerate(names)]
    picture = target_plots.trade(compared(Measured("a", "A", latency(*rows)), sealed).points)
    found = boxes(picture, {f"{name}, 2.0 MB" for name in names})
    assert len(found) == len(names)
    for place, (left, low, width) in enumerate(found):
        for other, base, wide in found[place + 1 :]:
            assert abs(low - base) > 8 or left + width < other or other + wide < left


def test_scaling_needs_several_counts() -> None:
    both = [full_row(INT8, 4.0, 1), full_row(INT8, 2.0, 2), offline(INT8, 2.0, 2, 4), offline(INT8, 2.0, 2, 16)]
    assert {"threads", "films in a batch, 2 threads", "films/s", INT8} <= set(texts(target_plots.scaling(both)))
    assert "films/s" not in texts(target_plots.scaling(both[:2]))
    assert target_plots.scaling([row(INT8, 4.0), row(FP32, 4.0)]) is None
    assert target_plots.scaling([]) is None


def test_the_drift_in_time_tells_the_temperature_around_it() -> None:
    assert "Hottest sensor: 41 °C before, 78 °C after" in texts(target_plots.drift_in_time(measured()))
    untold = Measured("a", "A", latency(full_row(INT8, 2.0), before=State()))
    assert "The machine does not tell its temperature" in texts(target_plots.drift_in_time(untold))
    assert target_plots.drift_in_time(Measured("a", "A", latency(row(INT8, 2.0)))) is None


def test_machines_side_by_side_are_two_at_least() -> None:
    found = [compared(one, manifest()) for one in (measured("a"), measured("b", 90.0))]
    assert {"A", "B", *SIZES} <= set(texts(target_plots.side_by_side(found)))
    assert target_plots.side_by_side(found[:1]) is None
    assert target_plots.side_by_side([compared(Measured(name, name, latency()), manifest()) for name in "ab"]) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$x_{1}$", r"\$x_{1}\$"),
        ("病院", "device-7"),
        ("_hidden", "hidden"),
        ("a" * 50, "a" * 33 + "…"),
        ("Çorlu", "Çorlu"),
    ],
)
def test_a_name_from_outside_is_drawn_as_it_is(text: str, shown: str) -> None:
    assert target_plots.label(text, "device-7") == shown
    lane = target_plots.distribution([(target_plots.label(text, "device-7"), row(OPENVINO, 1.0))])
    assert shown.replace("\\", "") in "".join(texts(lane)).replace("\\", "")


def test_equal_reports_give_equal_pictures() -> None:
    assert target_plots.trade(compared(measured(), manifest()).points) == target_plots.trade(compared(measured(), manifest()).points)
