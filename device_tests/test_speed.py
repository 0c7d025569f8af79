"""Latency and memory of the artifact that `predict` takes here, in a fresh process: reported, held against the limits that are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from device_tests.device import Device, command, run
from device_tests.record import called
from toolkit.benchmark.host import describe_host
from toolkit.benchmark.runner import Job
from toolkit.core.bundle import Bundle
from toolkit.core.codec import decode_json, encode_json, parse_json
from toolkit.core.latency import LatencyRow
from toolkit.infer.predictor import choose_artifact

LIMITS = {"max-p50-ms": "p50_ms", "max-end-to-end-ms": "end_to_end_p50_ms", "max-rss-mb": "peak_rss_mb"}
SHOWN = ("load_ms", "first_ms", "p50_ms", "p90_ms", "p99_ms", "end_to_end_p50_ms", "peak_rss_mb")


def measured(bundle: Bundle, runs: int) -> LatencyRow:
    job = Job(
        bundle=str(bundle.folder),
        artifact=choose_artifact(bundle).name,
        scenario="single_stream",
        threads=describe_host().cores,
        batch=1,
        runs=runs,
        warmup=max(1, runs // 10),
    )
    done = run(command("toolkit.benchmark.runner"), encode_json((job,)))
    assert done.returncode == 0, done.stderr.decode()
    (row,) = decode_json(done.stdout, tuple[LatencyRow], "runner")
    return row


def recipe_budget_ms(folder: Path) -> float | None:
    """`prune.target.latency_ms` of the recipe, from the report that lies in the bundle or beside it; None where there is none."""
    report = next((path for place in (folder, folder.parent) if (path := place / "report.json").is_file()), None)
    found: Any = parse_json(report.read_bytes(), str(report)) if report else None
    for key in ("recipe", "prune", "target", "latency_ms"):
        found = found.get(key) if isinstance(found, dict) else None
    return None if found is None else float(found)


def test_latency_and_memory(bundle: Bundle, device: Device) -> None:
    row, budget = measured(bundle, 3 if device.emulator else device.option("latency-runs")), recipe_budget_ms(bundle.folder)
    figures = {field: getattr(row, field) for field in SHOWN}
    text = ", ".join(f"{field} {value:.2f}" for field, value in figures.items() if value is not None)
    asked = "" if budget is None else f"; the recipe's budget is {budget:g} ms"
    about = f"{called(bundle)}, latency"
    device.note(about, f"{row.artifact} on {row.threads} threads, {row.runs} runs: {text}{asked}", **figures, recipe_budget_ms=budget)
    limits = [(f"--{option}", field, device.limit(option)) for option, field in LIMITS.items()]
    if device.limit("recipe-budget"):
        assert budget is not None, f"the report beside {bundle.folder} names no prune.target.latency_ms: give --max-p50-ms instead"
        limits.append(("--recipe-budget", "p50_ms", budget))
    assert row.p50_ms > 0
    for option, field, limit in limits:
        value = getattr(row, field)
        assert limit is None or (value is not None and value <= limit), f"{field} of {row.artifact} is {value}, {option} allows {limit}"
