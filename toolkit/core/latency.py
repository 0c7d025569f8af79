"""What a machine is, and how fast a bundle answers on it. JSON keys are promised: they may be added to, none is renamed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from toolkit.core.codec import Frozen

Scenario = Literal["single_stream", "offline"]
Stopped = Literal["precise", "limit", "runs"]


class Host(Frozen, frozen=True, kw_only=True):
    """The machine that was measured. `emulator`: this is another processor's imitation of it, and no time taken here means anything."""

    machine: str
    processor: str
    cores: int
    features: tuple[str, ...]
    memory_mb: int | None
    system: str
    python: str
    libraries: Mapping[str, str]
    load_1min: float | None
    emulator: str | None = None


class State(Frozen, frozen=True, kw_only=True):
    """How a machine was at one moment; null where it does not tell. `throttled`: how often its processor slowed itself down since it
    was started. `temperature_c`: its hottest sensor. `frequency_mhz`: mean over the cores."""

    governor: str | None = None
    frequency_mhz: float | None = None
    temperature_c: float | None = None
    throttled: int | None = None
    load_1min: float | None = None
    memory_free_mb: int | None = None


class LatencyRow(Frozen, frozen=True, kw_only=True):
    """One artifact in one scenario. `p*_ms` is model time, array in, logit out; percentiles need enough runs or are null.

    `p50_ci95_ms`: its interval, from the order of the times (no distribution is assumed). `stopped` says why the runs ended:
    'precise' when that interval was narrow enough, 'limit' when time was up before, 'runs' when a number of runs was given.
    `decode_p50_ms`: file's bytes to array; `end_to_end_p50_ms`: file's bytes to logit; `load_ms`: files to ready; `first_ms`: the
    first inference after that. `energy_mj`: of one film, what the sensor sees less what it saw at rest; null with `energy_reason`.
    `device_p50_ms`: on a GPU, p50 of its own work by its own clock, without copies; `launch` says how it was launched.
    `disturbed`: what else the machine did meanwhile, or that its speed changed; empty when nothing. `trace_ms`: p50 of each of up to 20
    equal parts of the runs, in their order. `histogram_edges_ms`: one more than counts. Fields with a default are missing in older reports.
    """

    artifact: str
    backend: str
    precision: str
    scenario: Scenario
    threads: int
    batch: int
    runs: int
    warmup: int
    p50_ms: float
    p90_ms: float | None
    p99_ms: float | None
    images_per_s: float
    load_ms: float
    peak_rss_mb: float | None
    model_bytes: int
    end_to_end_p50_ms: float | None
    decode_p50_ms: float | None = None
    first_ms: float | None = None
    p50_ci95_ms: tuple[float, float] | None = None
    stopped: Stopped = "runs"
    energy_mj: float | None = None
    energy_reason: str = "not asked for"
    device_p50_ms: float | None = None
    launch: str = ""
    disturbed: str = ""
    trace_ms: tuple[float, ...] = ()
    histogram_edges_ms: tuple[float, ...] = ()
    histogram_counts: tuple[int, ...] = ()


class Skipped(Frozen, frozen=True, kw_only=True):
    """An artifact that could not be measured here, and why."""

    artifact: str
    reason: str


class ColdStart(Frozen, frozen=True, kw_only=True):
    """The whole command `predict` on one film, from nothing to its answer, in `runs` fresh processes. `rejected`: the bundle's screen took
    the film for none, as it does with a drawn one, so the model was loaded and not asked."""

    artifact: str
    runs: int
    wall_p50_s: float
    wall_max_s: float
    peak_rss_mb: float | None
    rejected: bool = False


class LatencyReport(Frozen, frozen=True, kw_only=True):
    """Latency of a bundle on one machine; `before` and `after`: its state around the measurement.

    `bundle_sha256`: of the bundle's manifest, `taken`: when it was measured, ISO 8601 in UTC. Both are empty in older reports, and in what
    a run keeps of a bundle that is not sealed yet.
    """

    host: Host
    rows: tuple[LatencyRow, ...]
    skipped: tuple[Skipped, ...] = ()
    before: State | None = None
    after: State | None = None
    cold_start: ColdStart | None = None
    bundle_sha256: str = ""
    taken: str = ""
