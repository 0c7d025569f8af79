"""Made-up machines, and a run of a bundle with three artifacts, small enough to check by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from toolkit.core.artifacts import FileEntry, Provenance
from toolkit.core.bundle import SCHEMA_VERSION, Artifact, Gate, Manifest, Parity, write_manifest
from toolkit.core.codec import encode_json
from toolkit.core.drift import DriftReport, DriftRow
from toolkit.core.evaluation import Evaluation, Verdict
from toolkit.core.files import sha256_of
from toolkit.core.labels import Labels
from toolkit.core.latency import ColdStart, Host, LatencyReport, LatencyRow, Skipped, State
from toolkit.core.metrics import Confusion
from toolkit.core.operating import OperatingPoint
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.reports import DeviceReport, RunReport
from toolkit.core.target import Target

FP32, INT8, OPENVINO = "onnxruntime-fp32", "onnxruntime-int8", "openvino-int8"
SIZES = {FP32: 11_200_000, INT8: 2_800_000, OPENVINO: 2_840_000}
HOSTILE = "../../x<script>alert('$x_{1}$')</script>\x1b[2J"


def artifact(name: str, loss_pt: float | None = 0.5, verdict: Verdict | None = "pass", size: int | None = None) -> Artifact:
    """One that was sealed with this verdict; None: its gate has not run."""
    gate = Gate(
        verdict=verdict or "pass",
        recall_loss_pt=loss_pt,
        recall_loss_upper95_pt=None if loss_pt is None else loss_pt + 1.1,
        lost_positives=2,
        gained_positives=0,
        limit_pt=1.0,
        mode="observed",
    )
    return Artifact(
        name=name,
        target=Target.from_name(name),
        files=(FileEntry(path=f"{name}.onnx", sha256="0" * 64, bytes=size or SIZES[name]),),
        requires=Target.from_name(name).backend,
        operating=OperatingPoint(threshold=0.5),
        parity=Parity(films=1, max_logit_error=0.0, mean_logit_error=0.0, sign_flips=0),
        drift=gate if verdict else None,
    )


def row(name: str, p50_ms: float, threads: int = 1, **more: Any) -> LatencyRow:
    """As a report of an earlier version has it: no interval, no trace, no histogram."""
    known: dict[str, Any] = {
        "artifact": name,
        "backend": Target.from_name(name).backend if name in SIZES else "torch",
        "precision": "fp32",
        "scenario": "single_stream",
        "threads": threads,
        "batch": 1,
        "runs": 1000,
        "warmup": 50,
        "p50_ms": p50_ms,
        "p90_ms": 1.1 * p50_ms,
        "p99_ms": 1.4 * p50_ms,
        "images_per_s": 1000 / p50_ms,
        "load_ms": 40.0,
        "peak_rss_mb": 96.0,
        "model_bytes": SIZES.get(name, 11_200_000),
        "end_to_end_p50_ms": p50_ms + 5,
    }
    return LatencyRow(**known | more)


def full_row(name: str, p50_ms: float, threads: int = 1, **more: Any) -> LatencyRow:
    """As a report of this version has it; the times get six percent longer along the run."""
    times = p50_ms * (0.97 + np.random.default_rng(sum(map(ord, name)) + threads).gamma(2.0, 0.03, 1000) + np.linspace(-0.03, 0.03, 1000))
    counts, edges = np.histogram(times, bins=40)
    known: dict[str, Any] = {
        "p50_ci95_ms": (0.99 * p50_ms, 1.01 * p50_ms),
        "decode_p50_ms": 5.0,
        "first_ms": 3 * p50_ms,
        "stopped": "precise",
        "energy_reason": "no sensor of energy here",
        "trace_ms": tuple(float(np.median(part)) for part in np.split(times, 20)),
        "histogram_edges_ms": tuple(map(float, edges)),
        "histogram_counts": tuple(map(int, counts)),
    }
    return row(name, p50_ms, threads, **known | more)


def offline(name: str, p50_ms: float, threads: int, batch: int) -> LatencyRow:
    """A batch at a time, with 0.9 of the time of its films one by one."""
    time = 0.9 * p50_ms * batch
    return full_row(name, time, threads, scenario="offline", batch=batch, images_per_s=1000 * batch / time, end_to_end_p50_ms=None)


def host(processor: str = "Celeron N4020", machine: str = "x86_64", features: tuple[str, ...] = ("avx2", "avx_vnni"), **more: Any) -> Host:
    known: dict[str, Any] = {
        "machine": machine,
        "processor": processor,
        "cores": 2,
        "features": features,
        "memory_mb": 3800,
        "system": "Linux-6.1-x86_64",
        "python": "3.11.2",
        "libraries": {"onnxruntime": "1.20.0"},
        "load_1min": 0.1,
    }
    return Host(**known | more)


def latency(*rows: LatencyRow, on: Host | None = None, **more: Any) -> LatencyReport:
    return LatencyReport(host=on or host(), rows=rows, **more)


def drift_row(name: str, verdict: Verdict = "pass", loss_pt: float | None = 0.0) -> DriftRow:
    return DriftRow(
        artifact=name,
        recall=0.98,
        recall_reference=0.99,
        recall_loss_pt=loss_pt,
        recall_loss_upper95_pt=None if loss_pt is None else loss_pt + 2,
        lost_positives=1,
        gained_positives=0,
        specificity_loss_pt=0.0,
        accuracy_loss_pt=0.0,
        roc_auc_loss=0.0,
        mcnemar_p=1.0,
        flips=(),
        subgroups={},
        limit_pt=1.0,
        mode="observed",
        verdict=verdict,
        reason={"verdict": "lost 3.20 points of recall, limit 1"} if verdict == "fail" else {},
    )


def drift(*rows: DriftRow, **more: Any) -> DriftReport:
    verdict: Verdict = "fail" if any(one.verdict == "fail" for one in rows) else "pass"
    return DriftReport(reference="none (torch)", n=40, rows=rows, verdict=verdict, positives=20, **more)


def full_latency(scale: float, on: Host, most_threads: int) -> LatencyReport:
    """Three artifacts, threads 1 to `most_threads` by doubling, batches, states, a cold start."""
    counts = [2**step for step in range(most_threads.bit_length())]
    base = {FP32: 4.0 * scale, INT8: 1.3 * scale, OPENVINO: 1.0 * scale}
    rows = [full_row(name, ms / threads**0.8, threads) for name, ms in base.items() for threads in counts]
    rows += [offline(name, ms / counts[-1] ** 0.8, counts[-1], batch) for name, ms in base.items() for batch in (4, 16)]
    before = State(governor="powersave", frequency_mhz=1100.0, temperature_c=41.0, throttled=3, load_1min=0.1, memory_free_mb=2100)
    after = State(governor="powersave", frequency_mhz=900.0, temperature_c=78.0, throttled=9, load_1min=1.9, memory_free_mb=1900)
    cold = ColdStart(artifact=INT8, runs=5, wall_p50_s=0.9, wall_max_s=1.4, peak_rss_mb=110.0)
    return latency(*rows, on=on, before=before, after=after, cold_start=cold)


def device(name: str, found: LatencyReport, sha256: str, **more: Any) -> DeviceReport:
    return DeviceReport(device=name, taken="2026-03-01T09:00:00Z", bundle="brightness", bundle_sha256=sha256, latency=found, **more)


def manifest(*artifacts: Artifact) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name="brightness",
        model="none",
        sparsity=0.0,
        labels=Labels(),
        preprocessing=Preprocessing(size_px=32, channels=1),
        artifacts=artifacts or (artifact(FP32, 0.0), artifact(INT8), artifact(OPENVINO, 0.4)),
        provenance=Provenance(recipe_sha256="0" * 64, data_sha256="0" * 64),
    )


def evaluation() -> Evaluation:
    known = dict.fromkeys(("accuracy", "recall", "specificity", "precision", "f1", "balanced_accuracy", "roc_auc"), 0.9)
    table = Confusion(tp=9, fp=1, tn=9, fn=1)
    return Evaluation(artifact="none (torch)", n=20, threshold=0.5, confusion=table, ci95={"roc_auc": (0.8, 0.95)}, **known)


def make_run(folder: Path, found: LatencyReport, sealed: Manifest | None = None, synthetic: bool = False) -> str:
    """A sealed bundle's manifest with report.json beside it; gives its digest."""
    folder.mkdir(parents=True)
    write_manifest(folder, sealed or manifest())
    digest = sha256_of(folder / "bundle.json")
    report = RunReport(
        name="brightness",
        model="none",
        synthetic=synthetic,
        data="films",
        films={},
        sparsity=0.0,
        reference=evaluation(),
        evaluations=(),
        drift=drift(drift_row(FP32)),
        latency=found,
        parity={},
        recommended=(),
        history={},
        recipe={},
        bundle_bytes=1,
        bundle_sha256=digest,
    )
    (folder / "report.json").write_bytes(encode_json(report))
    return digest


def full_reports(sha256: str) -> dict[str, DeviceReport | LatencyReport]:
    """By file name: two devices, an emulator, one that fails, an old report, one that cannot time all, one with a hostile name."""
    arm = host("Cortex-A76", "aarch64", ("asimd", "asimddp"), cores=4, memory_mb=8000)
    laptop = full_latency(3.0, host("Intel(R) Celeron(R) N4020 CPU @ 1.10GHz"), 2)
    pi = full_latency(14.0, arm, 4)
    passed = drift(*map(drift_row, SIZES))
    failing = drift(drift_row(FP32, "fail", 3.2), drift_row(INT8, "fail", 3.2), skipped={OPENVINO: "OpenVINO is not installed"})
    busy = latency(row(FP32, 9.0), full_row(INT8, 2.0, disturbed="another process took 0.8 of a core"))
    skipped = (Skipped(artifact=OPENVINO, reason="openvino is not installed: pip install 'cxr-edge[openvino]'"),)
    return {
        "laptop.json": device("Dell laptop of the ward", laptop, sha256),
        "pi.json": device("Raspberry Pi 5", pi, sha256, drift=passed, unusable={"a.png": "is empty (0 bytes)"}),
        "emulated.json": device(
            "board", full_latency(90.0, host("Cortex-A53", "aarch64", ("asimd",), emulator="qemu-aarch64 8.2"), 2), sha256, drift=passed
        ),
        "failing.json": device("Thin client", full_latency(5.0, host(), 2), sha256, drift=failing, problems=("its clock is wrong",)),
        "old.json": latency(row(FP32, 9.0), row(INT8, 3.0), on=host("Atom D525", "x86_64", ())),
        "busy.json": device("Busy PC", busy.__class__(host=busy.host, rows=busy.rows, skipped=skipped), sha256),
        "hostile.json": device(HOSTILE, latency(row(FP32, 7.0), row("torch-eager", 20.0)), sha256, problems=("<img src=http://away>",)),
    }
