"""`cxr-edge prune`: the stage, and what each layer alone can lose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click

from toolkit.cli.options import LOCAL, engine_option, recipe_options, table
from toolkit.cli.options import number as figure
from toolkit.core.recipe import read_recipe
from toolkit.core.reports import PruneReport
from toolkit.engine.choose import chosen
from toolkit.pipeline import Run, run_stages, sensitivities, workshop


@click.command(short_help="Take weights or channels out, and let the rest recover.")
@recipe_options
@click.option("--redo", is_flag=True, help="Make it and all that follows anew, although it is there already.")
@engine_option("Of a search by 'optuna'")
@click.option("--workers", type=click.IntRange(1), help="Of a search by 'optuna': cores that are used [default: all].")
@click.option("--sensitivity", "alone", is_flag=True, help="Prune each layer alone instead, and show what held-out patients say.")
def prune(
    recipe: Path, data: Path | None, out: Path, overrides: tuple[str, ...], redo: bool, alone: bool, engine: str, workers: int | None
) -> None:
    """Take weights or channels out of the dense network, and let the rest recover, as the recipe's section 'prune' says.

    Leaves RUN/prune/checkpoint.json, weights.safetensors, history.csv and prune.json; with a search also pareto.svg. Continues from what
    'train' left in RUN. Exit code 1 when a budget cannot be reached, or a candidate is slower than its parent.

    \b
    Example:  cxr-edge prune recipes/szanet.yaml --data chest_xray --out runs/szanet
              cxr-edge prune recipes/szanet.yaml --data chest_xray --out runs/szanet --sensitivity
              cxr-edge prune recipes/szanet.yaml --data chest_xray --out runs/szanet --redo \\
                       --set "prune={method: structured, target: {latency_ms: 0.4}}"
    """
    run = Run(read_recipe(recipe, overrides), data, out)
    if alone:
        click.echo(_sensitivities(run, redo))
        return
    search, side_by_side = run.recipe.prune.search, engine != LOCAL or workers is not None
    if side_by_side and (search is None or search.method != "optuna"):
        raise click.UsageError("--engine and --workers are for a search by 'optuna': --set prune.search.method=optuna.")
    if redo:
        run.forget("prune")
    with closing(chosen(engine, workers)) as place:
        run.judge = workshop("searching").on_engine(run, place) if side_by_side else None
        run_stages(run, "prune", "prune")
    click.echo(_pruned(run))


def _pruned(run: Run) -> str:
    report = workshop("stages").read_pruning(run)
    steps = table(
        ("step", "zeros %", "parameters", "MMAC", "MB", "held-out recall", "specificity", "AUC"),
        [
            (
                str(number),
                f"{100 * step.sparsity:.1f}",
                str(step.parameters),
                f"{step.macs / 1e6:.1f}",
                f"{step.bytes / 1e6:.2f}",
                *map(figure, (step.recall, step.specificity, step.roc_auc)),
            )
            for number, step in enumerate(report.steps, start=1)
        ],
    )
    parts = [steps, *_benefits(report), *_candidates(report)]
    if report.left_dense:
        parts.append(f"Left dense: {', '.join(report.left_dense)}.")
    return "\n\n".join((*parts, f"prune: {run.folder('prune')}/checkpoint.json, weights.safetensors and history.csv"))


def _benefits(report: PruneReport) -> Iterator[str]:
    if report.benefits:
        yield table(
            ("runtime", "MB dense", "MB", "zipped dense", "zipped", "p50 ms dense", "p50 ms", "of dense", "rounds won"),
            [
                (
                    row.runtime,
                    *(f"{size / 1e6:.2f}" for size in (row.bytes_dense, row.bytes, row.compressed_bytes_dense, row.compressed_bytes)),
                    f"{row.p50_ms_dense:.3f}",
                    f"{row.p50_ms:.3f}",
                    f"{row.p50_ms / row.p50_ms_dense:.2f}",
                    f"{row.faster_rounds} of {row.rounds}",
                )
                for row in report.benefits
            ],
        )


def _candidates(report: PruneReport) -> Iterator[str]:
    if report.candidates:
        yield table(
            ("MB", "p50 ms", "recall loss pt", "AUC loss", "gate", "Pareto"),
            [
                (
                    f"{one.bytes / 1e6:.2f}",
                    f"{one.p50_ms:.3f}",
                    f"{one.recall_loss_pt:.2f}",
                    f"{one.roc_auc_loss:.4f}",
                    "passed" if one.passed else "dropped",
                    "yes" if one.pareto else "",
                )
                for one in sorted(report.candidates, key=lambda one: one.bytes)
            ],
        )


def _sensitivities(run: Run, redo: bool) -> str:
    rows = sensitivities(run, redo)
    shown = table(
        ("layer", "share that goes", "kept", "AUC loss", "recall loss pt"),
        [(row.layer, f"{row.ratio:.2f}", str(row.kept), f"{row.roc_auc_loss:.4f}", f"{row.recall_loss_pt:.2f}") for row in rows],
    )
    return f"{shown}\n\nsensitivity: {run.folder('sensitivity')}/sensitivity.json and sensitivity.svg"
