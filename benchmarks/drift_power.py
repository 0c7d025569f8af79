"""How often does the gate alarm when nothing was lost, and how often does it see a loss?

    python -m benchmarks.drift_power          simulates, writes docs/results/drift_power.json and .svg and the tables of docs/drift.md
    python -m benchmarks.drift_power write    writes the tables alone

A pair of models is simulated as the counts that the gate looks at: each positive is lost with one probability, gained with another, or
called alike. Films as in the Kermany test split: 624, of which 390 are positive (242 bacteria, 148 virus).
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from toolkit.cli.options import table
from toolkit.core.codec import Frozen, encode_json, read_json
from toolkit.core.files import write_atomically
from toolkit.core.metrics import Interval
from toolkit.report.plots import BLUE, GREY, ORANGE, svg_of
from toolkit.validate.intervals import beyond_limit_p, loss_p, lost_proven, mcnemar, positives_needed, upper_bound, wilson

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "results" / "drift_power.json"
PLOT, PAGE = OUT.with_suffix(".svg"), ROOT / "docs" / "drift.md"
BEGIN, END = "<!-- begin: benchmarks/drift_power.py -->", "<!-- end -->"
PAIRS, SEED, LEVEL = 10_000, 1, 0.05
FILMS, GROUPS = 624, {"bacteria": 242, "virus": 148}
POSITIVES = sum(GROUPS.values())
DISAGREEMENTS_PT = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
LOSSES_PT = (0.5, 1.0, 2.0)
LIMITS_PT = (0.5, 1.0, 2.0)
USUAL_PT = 0.5  # as often as this each way do the artifacts of docs/results.md part from the dense network, or less
SIZES = (100, 200, 390, 800, 1600, 3200, 6400, 12_800)
Counts = NDArray[np.int64]


class Rate(Frozen, frozen=True, kw_only=True):
    """In which share of the pairs a criterion alarms, with the 95 % interval of the simulation (Wilson)."""

    criterion: str
    share: float
    ci95: Interval


class Setting(Frozen, frozen=True, kw_only=True):
    """One kind of pair: `disagreement_pt` of the positives are lost by chance and as many gained, `loss_pt` are lost on top."""

    disagreement_pt: float
    loss_pt: float
    positives: int
    rates: tuple[Rate, ...]


class Table(Frozen, frozen=True, kw_only=True):
    """All settings: pairs without a loss, pairs with one, and the same by number of positives."""

    pairs: int
    false_alarms: tuple[Setting, ...]
    power: tuple[Setting, ...]
    by_positives: tuple[Setting, ...]


def simulate(disagreement_pt: float, loss_pt: float, positives: int, pairs: int = PAIRS) -> Setting:
    """Draw pairs and let each criterion judge them."""
    random = np.random.default_rng((SEED, round(100 * disagreement_pt), round(100 * loss_pt), positives))
    chances = np.array([disagreement_pt + loss_pt, disagreement_pt]) / 100
    drawn = {name: random.multinomial(count, [*chances, 1 - chances.sum()], pairs)[:, :2] for name, count in _groups(positives).items()}
    alarms = criteria(drawn, positives)
    rates = []
    for name, alarmed in alarms.items():
        bounds = wilson(int(alarmed.sum()), pairs)
        assert bounds is not None, "there are pairs"
        rates.append(Rate(criterion=name, share=float(alarmed.mean()), ci95=bounds))
    return Setting(disagreement_pt=disagreement_pt, loss_pt=loss_pt, positives=positives, rates=tuple(rates))


def criteria(drawn: dict[str, Counts], positives: int) -> dict[str, NDArray[np.bool_]]:
    """By criterion, the pairs that alarm; `drawn` holds lost and gained ones of each group, `[pairs, 2]`."""
    lost, gained = np.sum(list(drawn.values()), axis=0).T
    sizes = _groups(positives)
    found = {
        "loss beyond chance (mid-p)": _each(lambda a, b: loss_p(a, b) < LEVEL, lost, gained),
        "McNemar, exact, and more lost": _each(lambda a, b: a > b and mcnemar(a, b) < LEVEL, lost, gained),
    }
    for limit in LIMITS_PT:
        found[f"fails observed, {limit:g} pt"] = 100 * (lost - gained) / positives > limit + 1e-9
        found[f"fails proven, {limit:g} pt"] = _each(lambda a, _, limit=limit: 100 * upper_bound(a, positives) > limit, lost, gained)
    parts = [
        _each(lambda a, b, size=sizes[name]: beyond_limit_p(max(a - b, 0), size, 0.01) < LEVEL / len(sizes), *counts.T)
        for name, counts in drawn.items()
    ]
    found["a group fails, 1 pt"] = np.any(parts, axis=0)
    return found


def _groups(positives: int) -> dict[str, int]:
    """As many in each group as in the Kermany test split, in proportion."""
    bacteria = round(positives * GROUPS["bacteria"] / POSITIVES)
    return {"bacteria": bacteria, "virus": positives - bacteria}


def _each(judge, lost: Counts, gained: Counts) -> NDArray[np.bool_]:  # type: ignore[no-untyped-def]
    """A judgement of each pair of counts; the same counts are judged once."""
    known = functools.cache(judge)
    return np.array([known(int(a), int(b)) for a, b in zip(lost, gained, strict=True)])


def simulate_all() -> Table:
    """Everything that the page states."""
    return Table(
        pairs=PAIRS,
        false_alarms=tuple(simulate(part, 0.0, POSITIVES) for part in DISAGREEMENTS_PT),
        power=tuple(simulate(USUAL_PT, loss, POSITIVES) for loss in LOSSES_PT),
        by_positives=tuple(simulate(USUAL_PT, loss, size, PAIRS // 5) for loss in (0.0, *LOSSES_PT) for size in SIZES),
    )


def draw(found: Table) -> bytes:
    """SVG: by number of positives, how often a loss is seen, how often the observed gate fails, how often a limit is proven."""
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    fields = figure.subplots(1, 3, sharey=True)
    shown = (
        ("loss beyond chance (mid-p)", "a loss beyond chance is seen"),
        ("fails observed, 1 pt", "observed, 1 point: fails"),
        ("fails proven, 1 pt", "proven, 1 point: fails"),
    )
    for field, (criterion, title) in zip(fields, shown, strict=True):
        for loss, colour in zip((0.0, *LOSSES_PT), (GREY, BLUE, ORANGE, "#a8261c"), strict=True):
            rows = [row for row in found.by_positives if row.loss_pt == loss]
            values = [rate.share for row in rows for rate in row.rates if rate.criterion == criterion]
            field.plot([row.positives for row in rows], values, ".-", color=colour, label=f"{loss:g} points truly lost")
        field.axvline(POSITIVES, color=GREY, linewidth=0.8, linestyle="--")
        field.set(xscale="log", xlabel="positive films", title=title, ylim=(-0.02, 1.02))
    fields[0].set_ylabel("share of pairs")
    fields[2].legend(frameon=False, fontsize=8, loc="center right")
    return svg_of(figure)


def page(text: str, found: Table) -> str:
    """`text` with everything between the two marks made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(found)}\n\n{END}{after}"


def tables(found: Table) -> str:
    """What the limits allow, false alarms, power."""
    allowed = [
        (
            f"{limit:g}",
            str(int(limit * POSITIVES / 100 + 1e-9)),
            "none: too few films" if (most := lost_proven(POSITIVES, limit / 100)) is None else str(most),
            str(positives_needed(0.0, limit / 100)),
            str(positives_needed(limit / 200, limit / 100)),
        )
        for limit in LIMITS_PT
    ]
    head = ("limit, points", "net lost, observed", "lost, proven", "positives that prove it, none lost", "the same, half the limit lost")
    names = [rate.criterion for rate in found.false_alarms[0].rates]
    false = [(f"{row.disagreement_pt:g} %", *map(_shown, row.rates)) for row in found.false_alarms]
    power = [(f"{row.loss_pt:g} points", *map(_shown, row.rates)) for row in found.power]
    return "\n\n".join(
        (
            f"What a limit means on {POSITIVES} positives:",
            markdown(head, allowed),
            f"Nothing truly lost ({found.pairs} simulated pairs of {FILMS} films): how often a criterion alarms, with its 95 % interval:",
            markdown(("lost and gained by chance, each", *names), false),
            f"Something truly lost, and {USUAL_PT:g} % lost and gained by chance:",
            markdown(("truly lost", *names), power),
        )
    )


def markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(rate: Rate) -> str:
    return f"{100 * rate.share:.1f} % ({100 * rate.ci95[0]:.1f} to {100 * rate.ci95[1]:.1f})"


def main() -> None:
    """What the command line says."""
    if sys.argv[1:] != ["write"]:
        write_atomically(OUT, encode_json(simulate_all()))
    found = read_json(OUT, Table)
    write_atomically(PLOT, draw(found))
    write_atomically(PAGE, page(PAGE.read_text(encoding="utf-8"), found))
    rows = [[f"{row.disagreement_pt:g}", *map(_shown, row.rates[:2])] for row in found.false_alarms]
    print(table(("by chance, %", *(rate.criterion for rate in found.false_alarms[0].rates[:2])), rows))


if __name__ == "__main__":
    main()
