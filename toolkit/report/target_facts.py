"""The facts of a machine as (name, words) pairs, the same names in the same order for every machine; 'not told' where a report is older."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from toolkit.core.latency import ColdStart, LatencyRow, State
from toolkit.core.reports import TargetPoint
from toolkit.report.targets import Measured, best_rows, chosen

UNTOLD = "not told"


def facts(measured: Measured, found: Sequence[TargetPoint]) -> dict[str, str]:
    """Machine, best artifact and state; nothing timed of an emulator."""
    timed = {} if measured.emulator else _timed(measured, found) | _states(measured)
    return _machine(measured) | timed | _rest(measured, found)


def _machine(measured: Measured) -> dict[str, str]:
    host = measured.latency.host
    return {
        "processor": f"{host.processor} ({host.machine})",
        "features": ", ".join(host.features) or "none known",
        "cores": str(host.cores),
        "memory": f"{host.memory_mb / 1024:.1f} GB" if host.memory_mb else UNTOLD,
        "system": host.system,
        "libraries": ", ".join(f"{name} {version}" for name, version in {"Python": host.python, **host.libraries}.items()),
        "measured": measured.taken or UNTOLD,
    }


def _timed(measured: Measured, found: Sequence[TargetPoint]) -> dict[str, str]:
    """Of the chosen artifact's row; dashes where nothing can be used."""
    best = chosen(found)
    row = best_rows(measured.latency.rows).get(best.artifact) if best else None
    names = ("threads", "p50, model alone", "p90, p99", "from file to answer, p50", "decoding, p50", "load, then first inference")
    told = _row(row) if row else dict.fromkeys((*names, "peak memory", "energy of a film", "disturbed"), "-")
    return {
        "use": best.artifact if best else "none",
        "Pareto set": ", ".join(one.artifact for one in found if one.pareto) or "none",
        **told,
        "most films/s": _offline(measured.latency.rows, best.artifact) if best else "-",
        "cold start": _cold(measured.latency.cold_start),
    }


def _row(row: LatencyRow) -> dict[str, str]:
    return {
        "threads": str(row.threads),
        "p50, model alone": f"{milliseconds(row.p50_ms)}{interval(row)}, {row.runs} runs",
        "p90, p99": f"{milliseconds(row.p90_ms)}, {milliseconds(row.p99_ms)}",
        "from file to answer, p50": milliseconds(row.end_to_end_p50_ms),
        "decoding, p50": milliseconds(row.decode_p50_ms),
        "load, then first inference": f"{milliseconds(row.load_ms)}, {milliseconds(row.first_ms)}",
        "peak memory": f"{row.peak_rss_mb:.0f} MB" if row.peak_rss_mb is not None else UNTOLD,
        **({"the GPU alone, p50": f"{milliseconds(row.device_p50_ms)}, {row.launch}"} if row.device_p50_ms is not None else {}),
        "energy of a film": energy(row),
        "disturbed": row.disturbed or "no sign of it",
    }


def _offline(rows: Sequence[LatencyRow], artifact: str) -> str:
    """The most films a second of the artifact, in any scenario."""
    best = max((row for row in rows if row.artifact == artifact), key=lambda row: row.images_per_s)
    return f"{best.images_per_s:.0f} (batch {best.batch}, {best.threads} thread{'s' * (best.threads > 1)})"


def _cold(start: ColdStart | None) -> str:
    if start is None:
        return "not measured"
    memory = f", {start.peak_rss_mb:.0f} MB" if start.peak_rss_mb is not None else ""
    return f"{start.wall_p50_s:.2f} s, at most {start.wall_max_s:.2f} s in {start.runs} runs of {start.artifact}{memory}"


def _states(measured: Measured) -> dict[str, str]:
    """Before and after the measurement."""
    before, after = measured.latency.before or State(), measured.latency.after or State()
    told: Mapping[str, tuple[object, object]] = {
        "governor": (before.governor, after.governor),
        "frequency, MHz": (_whole(before.frequency_mhz), _whole(after.frequency_mhz)),
        "hottest sensor, °C": (_whole(before.temperature_c), _whole(after.temperature_c)),
        "load of the minute before": (_tenth(before.load_1min), _tenth(after.load_1min)),
        "free memory, MB": (before.memory_free_mb, after.memory_free_mb),
    }
    return {**{name: _change(*pair) for name, pair in told.items()}, "throttled meanwhile": _throttled(before, after)}


def _throttled(before: State, after: State) -> str:
    if before.throttled is None or after.throttled is None:
        return UNTOLD
    times = after.throttled - before.throttled
    return f"yes, its counter rose by {times}" if times else "no"


def _rest(measured: Measured, found: Sequence[TargetPoint]) -> dict[str, str]:
    return {
        "judged by": "films that it scored itself" if measured.drift is not None else "the verdicts that the bundle was sealed with",
        "does not run here": _sentences(f"{skip.artifact}: {skip.reason}" for skip in measured.latency.skipped),
        "not to be used": _sentences(f"{point.artifact} {point.reason}" for point in found if not point.usable),
        "films it could not use": str(len(measured.unusable)),
        "problems": _sentences(measured.problems),
    }


def _sentences(said: Iterable[str]) -> str:
    return "; ".join(said) or "none"


def _change(before: object, after: object) -> str:
    """'40, then 62'; one value when both are the same."""
    words = [UNTOLD if value is None else str(value) for value in (before, after)]
    return words[0] if words[0] == words[1] else ", then ".join(words)


def _whole(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"


def _tenth(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}"


def milliseconds(value: float | None) -> str:
    """'0.42 ms'; a dash for None."""
    return "-" if value is None else f"{value:.2f} ms"


def interval(row: LatencyRow) -> str:
    """' (0.40 to 0.44)', the median's 95 % interval; empty where there is none."""
    return f" ({row.p50_ci95_ms[0]:.2f} to {row.p50_ci95_ms[1]:.2f})" if row.p50_ci95_ms else ""


def energy(row: LatencyRow) -> str:
    """'1.2 mJ', or why not."""
    return f"{row.energy_mj:.1f} mJ" if row.energy_mj is not None else row.energy_reason
