"""The shipped bundles: the table in README.md, and in docs/results.md every artifact of each.

    cxr-edge benchmark exported/NAME --threads 2 --cold-starts 20 --film FILM --json docs/results/latency-NAME.json
    python -m benchmarks.results write

The first of each, with a full-size FILM of chest_xray_fullsize; the second makes both tables.

Accuracy, recall, drift and bytes are those of the sealed manifests; latency is that of the machines that the files were measured on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from toolkit.core.bundle import MANIFEST, Artifact, Bundle
from toolkit.core.codec import read_json
from toolkit.core.latency import LatencyReport, LatencyRow
from toolkit.core.reports import RunReport
from toolkit.core.target import processor_family
from toolkit.report.render import two, with_interval

ROOT = Path(__file__).parent.parent
LATENCY = ROOT / "docs" / "results"
THREADS = 2
METRICS = ("accuracy", "recall", "specificity", "roc_auc")
Rows = list[tuple[str, ...]]
HEAD = ("bundle", "recommended artifact", "MB", *("accuracy", "recall", "specificity", "AUC"), "recall lost", "p50 ms", "cold start s")
ARTIFACTS = ("artifact", "MB", "accuracy", "recall", "specificity", "AUC", "recall lost", "verdict", "p50 ms", "p99 ms")


def bundles() -> list[Bundle]:
    """Those in exported/, by name."""
    return [Bundle(path.parent) for path in sorted((ROOT / "exported").glob(f"*/{MANIFEST}"))]


def latency(bundle: Bundle) -> LatencyReport:
    """Of the machine that the tables speak of; raises InputError where the bundle was not measured."""
    return read_json(LATENCY / f"latency-{bundle.folder.name}.json", LatencyReport)


def _single(bundle: Bundle) -> Iterator[LatencyRow]:
    return (row for row in latency(bundle).rows if row.scenario == "single_stream" and row.threads == THREADS)


def _judged(artifact: Artifact) -> tuple[str, ...]:
    assert artifact.metrics is not None
    return tuple(with_interval(artifact.metrics, name) for name in METRICS)


def _ms(row: LatencyRow) -> str:
    return f"{row.p50_ms:.2f}{' (disturbed)' if row.disturbed else ''}"


def _lost(artifact: Artifact) -> str:
    assert artifact.drift is not None
    row = artifact.drift
    return f"{two(row.recall_loss_pt)} pt ({row.lost_positives} lost, {row.gained_positives} gained)"


def processor(report: LatencyReport) -> str:
    """The machine that was measured, with what decides on the speed of int8."""
    host = report.host
    known = {"x86-vnni": " with VNNI", "x86": " without VNNI"}
    return f"{host.processor}{known.get(processor_family(host.machine, host.features), '')}"


def readme() -> tuple[str, tuple[str, ...], Rows]:
    """A sentence about the machines, head and rows."""
    rows: Rows = []
    machines: dict[str, list[str]] = {}
    for bundle in bundles():
        report, artifact = latency(bundle), bundle.artifact(bundle.manifest.recommended[0])
        (row,) = (one for one in _single(bundle) if one.artifact == artifact.name)
        cold = report.cold_start
        assert cold is not None
        own = (f"`exported/{bundle.folder.name}`", artifact.name, f"{artifact.bytes / 1e6:.2f}", *_judged(artifact), _lost(artifact))
        rows.append((*own, _ms(row), f"{cold.wall_p50_s:.2f} ({cold.artifact})"))
        machines.setdefault(f"{processor(report)}, {THREADS} threads", []).append(f"`{bundle.folder.name}`")
    places = [f"{', '.join(names)} on {place}" for place, names in machines.items()]
    said = f"Latency and cold start (the whole command on one full-size film, median of {cold.runs}): {'; '.join(places)}."
    return said, HEAD, rows


def artifacts(bundle: Bundle) -> Rows:
    """Every artifact of a bundle, and first the dense network that it is held against."""
    reference = bundle.manifest.reference
    assert reference is not None
    times = {row.artifact: row for row in _single(bundle)}
    rows: Rows = [("dense, torch", "", *(with_interval(reference.metrics, name) for name in METRICS), "the reference", "", "", "")]
    for artifact in bundle.manifest.artifacts:
        timed = times.get(artifact.name)
        ms = (_ms(timed), "" if timed.p99_ms is None else f"{timed.p99_ms:.2f}") if timed else ("not measured", "")
        assert artifact.drift is not None
        rows.append((artifact.name, f"{artifact.bytes / 1e6:.2f}", *_judged(artifact), _lost(artifact), artifact.drift.verdict, *ms))
    return rows


def title(bundle: Bundle) -> str:
    """Of a bundle's table."""
    made = read_json(bundle.folder / "report.json", RunReport)
    size, place = f"{made.bundle_bytes / 1e6:.1f} MB", processor(latency(bundle))
    return f"exported/{bundle.folder.name}: {bundle.manifest.model}, {size} in all, on {place}, {THREADS} threads"
