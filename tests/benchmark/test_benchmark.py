"""Timing: percentiles that the runs can carry, the promised keys, what cannot run here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from tests.conftest import INT8, reseal
from toolkit.benchmark import host, run, runner
from toolkit.benchmark.run import benchmark, single_stream_p50
from toolkit.benchmark.runner import Job, Sitting
from toolkit.benchmark.timer import Rule, percentile, time_calls
from toolkit.core.bundle import Bundle
from toolkit.core.codec import to_plain
from toolkit.core.latency import LatencyRow
from toolkit.core.recipe import BenchmarkSpec
from toolkit.eager import EagerSession
from toolkit.errors import InputError
from toolkit.infer import machine
from toolkit.infer.predictor import open_session
from toolkit.train.checkpoint import load_checkpoint

SPEC = BenchmarkSpec(runs=20, warmup=2, threads=(1,), batches=(2,))


@pytest.mark.parametrize(
    ("runs", "percent", "carried"), [(99, 90, False), (100, 90, True), (999, 99, False), (1000, 99, True), (1, 50, True)]
)
def test_percentiles_need_ten_runs_beyond_them(runs: int, percent: int, carried: bool) -> None:
    assert (percentile(np.arange(runs, dtype=float), percent) is not None) is carried


def test_warmup_calls_do_not_count() -> None:
    calls: list[int] = []
    assert len(time_calls(lambda: calls.append(1), runs=5, warmup=3)) == 5
    assert len(calls) == 8


def test_rows_have_the_promised_keys_and_make_sense(bundle: Path) -> None:
    report = to_plain(benchmark(Bundle(bundle), SPEC))
    assert report.keys() >= {"host", "rows", "skipped"}
    single, offline = report["rows"]
    for row in (single, offline):
        assert row.keys() >= {
            *("artifact", "backend", "precision", "scenario", "threads", "batch", "runs", "warmup", "p50_ms", "p90_ms", "p99_ms"),
            *("images_per_s", "load_ms", "peak_rss_mb", "model_bytes", "end_to_end_p50_ms"),
        }
        assert row["images_per_s"] == pytest.approx(row["batch"] * 1000 / row["p50_ms"])
        assert row["model_bytes"] == (bundle / "fp32.onnx").stat().st_size
        assert (row["p50_ci95_ms"] is None) == (row["runs"] < 6)
        assert sum(row["histogram_counts"]) == row["runs"]
        assert len(row["trace_ms"]) == min(row["runs"], 20)
        assert (row["stopped"], row["energy_mj"], row["energy_reason"]) == ("runs", None, "not asked for")
        assert row["first_ms"] > 0
    assert (single["scenario"], single["batch"], offline["scenario"], offline["batch"]) == ("single_stream", 1, "offline", 2)
    assert single["end_to_end_p50_ms"] > single["p50_ms"]
    assert single["decode_p50_ms"] > 0
    assert (single["p90_ms"], single["p99_ms"], offline["end_to_end_p50_ms"]) == (None, None, None)


def test_a_runtime_that_is_missing_is_skipped_with_its_extra(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.infer.on_openvino.is_available", lambda: False)
    report = benchmark(Bundle(finished_run / "bundle"), SPEC, ("openvino-int8", INT8))
    assert [skipped.artifact for skipped in report.skipped] == ["openvino-int8"]
    assert "pip install 'cxr-edge[openvino]'" in report.skipped[0].reason
    assert set(single_stream_p50(report)) == {INT8}


def test_a_scenario_that_fails_takes_no_other_with_it(bundle: Path) -> None:
    one_film_alone = onnx.load(bundle / "fp32.onnx")
    one_film_alone.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(one_film_alone, bundle / "fp32.onnx")
    reseal(bundle)
    report = benchmark(Bundle(bundle), SPEC)
    assert [row.scenario for row in report.rows] == ["single_stream"]
    (skipped,) = report.skipped
    assert skipped.reason.startswith("offline, 1 threads: ")


def test_an_artifact_that_cannot_be_loaded_is_skipped_with_the_reason(bundle: Path) -> None:
    (bundle / "fp32.onnx").write_bytes(b"changed")
    report = benchmark(Bundle(bundle), SPEC)
    assert report.rows == ()
    assert "was changed" in report.skipped[0].reason


def test_host_is_read_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arm = "processor\t: 0\nFeatures\t: fp asimd asimddp crc32\nmodel name\t: Cortex-A76\n"
    (tmp_path / "cpuinfo").write_text(arm)
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(host, "_read", lambda _path: "")
    found = host.describe_host()
    assert found.features == ("asimd", "asimddp")
    assert found.processor == "Cortex-A76"
    assert found.memory_mb is None
    assert 1 <= found.cores <= (os.cpu_count() or 1)


def test_of_several_rounds_the_fastest_counts_and_all_have_their_turn(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = benchmark(Bundle(bundle), SPEC)
    medians, seen = iter([5.0, 50.0, 3.0, 60.0, 4.0, 40.0]), []

    def timed(sitting: Sitting) -> tuple[LatencyRow, ...]:
        seen.extend(job.scenario for job in sitting)
        return tuple(msgspec.structs.replace(once.rows[0], scenario=job.scenario, p50_ms=next(medians)) for job in sitting)

    monkeypatch.setattr(run, "measure_jobs", timed)
    found = benchmark(Bundle(bundle), msgspec.structs.replace(SPEC, rounds=3))
    assert seen == ["single_stream", "offline"] * 3
    assert [(row.scenario, row.p50_ms) for row in found.rows] == [("single_stream", 3.0), ("offline", 40.0)]


def test_a_row_is_timed_by_the_rule_of_its_job_and_says_why_it_stopped(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a rule stops is test_timer.py's; a graph this small may have the same nanoseconds often enough for any precision."""
    rules = []

    def timed(call: Callable[[], object], rule: Rule, warmup: int) -> tuple[np.ndarray, str]:
        rules.append((rule, warmup))
        return time_calls(call, 8, warmup), "limit"

    monkeypatch.setattr(runner, "time_until", timed)
    single, offline = run._jobs(Bundle(bundle), "onnxruntime-fp32", msgspec.structs.replace(SPEC, precision_pct=3.0, most_s=0.2), None)
    for row in runner.measure((single, offline)):
        assert (row.stopped, row.runs) == ("limit", 8)
    assert rules == [(Rule(20, 3.0, 0.2), 0), (Rule(10, 3.0, 0.2), 0)]  # warmed up before, while nothing is watched


def test_the_machine_is_told_before_and_after_and_the_command_is_started_cold(bundle: Path) -> None:
    report = benchmark(Bundle(bundle), msgspec.structs.replace(SPEC, cold_starts=1))
    assert report.before is not None
    assert report.after is not None
    assert report.cold_start is not None
    assert (report.cold_start.artifact, report.cold_start.runs) == ("onnxruntime-fp32", 1)


def test_an_emulator_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.describe_host().emulator is None
    monkeypatch.setenv(host.EMULATOR, "qemu-aarch64")
    assert host.describe_host().emulator == "qemu-aarch64"


def test_torch_is_the_base_line_and_gives_the_networks_answers(finished_run: Path) -> None:
    bundle = Bundle(finished_run / "bundle")
    rows, failed = run.eager(finished_run / "prune", bundle, SPEC)
    assert failed == ()
    assert [(row.artifact, row.backend, row.scenario, row.batch) for row in rows] == [
        ("torch-eager", "torch", "single_stream", 1),
        ("torch-eager", "torch", "offline", 2),
    ]
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 32, 32), dtype=np.uint8)
    checkpoint, network = load_checkpoint(finished_run / "prune")
    said = EagerSession(network, checkpoint.preprocessing).logits(images)
    artifact = open_session(bundle, bundle.artifact("onnxruntime-fp32")).logits(images)
    assert said == pytest.approx(artifact, abs=2e-3)


def test_a_checkpoint_that_is_none_or_another_models_is_refused(bundle: Path, finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No checkpoint in .*: there is no checkpoint.json in it; give RUN/train or RUN/prune"):
        run.eager(tmp_path, Bundle(bundle), SPEC)
    with pytest.raises(InputError, match="is a szanet and .* a none; give the checkpoint that it was made from"):
        run.eager(finished_run / "prune", Bundle(bundle), SPEC)


def test_a_gpu_tells_its_own_time_and_how_it_was_launched(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gpu:
        launch = "CUDA graph"

        def logits(self, images: np.ndarray) -> np.ndarray:
            return np.zeros(len(images), np.float32)

        def outputs(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
            return (self.logits(images),)

        def device_ms(self, images: np.ndarray) -> float:
            return 0.5 * len(images)

    monkeypatch.setattr(runner, "open_session", lambda *_: Gpu())
    job = Job(bundle=str(bundle), artifact="onnxruntime-fp32", scenario="offline", threads=1, batch=4, runs=6, warmup=0)
    (row,) = runner.measure((job,))
    assert (row.device_p50_ms, row.launch) == (2.0, "CUDA graph")
    monkeypatch.undo()
    (row,) = runner.measure((job,))
    assert (row.device_p50_ms, row.launch) == (None, "")


def test_a_film_that_is_none_is_refused_before_anything_is_measured(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "film.txt").write_text("no film")
    with pytest.raises(InputError, match=r"film\.txt is not a picture; expected one of .*; give a film\."):
        benchmark(Bundle(bundle), SPEC, (), tmp_path / "film.txt")
