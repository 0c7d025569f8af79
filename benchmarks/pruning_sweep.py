"""The pruning table of the report of SZANet: 30 to 90 % of the weights zero, at random and by magnitude, without and with fine-tuning.

    python -m benchmarks.pruning_sweep RECIPE RUN CHEST_XRAY [KEY=VALUE ...]

RUN is where RECIPE was trained, with the same overrides. Prints, and keeps in docs/results, sparsity, accuracy on the official test films
(they choose nothing) and the score of the report, (sparsity + accuracy) / 2. A sweep that was stopped goes on.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import msgspec

from benchmarks.given import with_run
from toolkit.cli.options import number, table
from toolkit.core.codec import Frozen, encode_json, read_json
from toolkit.core.files import write_atomically
from toolkit.core.recipe import PruneSpec, Recipe, RecoverySpec
from toolkit.pipeline import Run
from toolkit.prune.run import prune
from toolkit.stages import pruning
from toolkit.train.checkpoint import load_checkpoint
from toolkit.train.score import score
from toolkit.validate.evaluate import judge

PUBLISHED = {0.3: 0.88, 0.4: 0.86, 0.5: 0.63, 0.7: 0.375, 0.8: 0.375}  # accuracy on the test films, pruned at random, not fine-tuned
SHARES = (*PUBLISHED, 0.9)
FINE_TUNED = RecoverySpec(epochs=2, learning_rate=5e-4, features=1.0)
AS_PUBLISHED = RecoverySpec(epochs=0, batch_norm=False)


HEAD = ("zeros", "fine-tuned", "sparsity", "accuracy at .5", "score", "published", "accuracy", "recall", "AUC")
FOLDER = Path(__file__).parent.parent / "docs" / "results"
KEPT = "pruning_sweep-{recipe}.json"


class Row(Frozen, frozen=True, kw_only=True):
    """One pruned network on the official test films; accuracy at its own threshold, and at .5 as the report has it."""

    method: str
    fine_tuned: bool
    sparsity: float
    accuracy: float
    accuracy_at_half: float
    recall: float
    roc_auc: float


def sweep(run: Run) -> None:
    """All shares, both ways, without and with fine-tuning."""
    rows = [_measured(run, run.folder("train"), "dense", fine_tuned=False)]
    for method, fine_tuned, share in itertools.product(("random", "magnitude"), (False, True), SHARES):
        recovery = FINE_TUNED if fine_tuned else AS_PUBLISHED
        spec = PruneSpec(method=method, sparsity=share, recovery=recovery)  # type: ignore[arg-type]
        rows.append(_pruned(run, msgspec.structs.replace(run.recipe, prune=spec), fine_tuned))
        print(_lines(rows[-1:]), file=sys.stderr, flush=True)
    recipe = sys.argv[1].removeprefix("recipes/").removesuffix(".yaml").replace("/", "-")
    write_atomically(FOLDER / KEPT.format(recipe=recipe), encode_json(rows))
    print(_lines(rows))


def _pruned(run: Run, recipe: Recipe, fine_tuned: bool) -> Row:
    spec = recipe.prune
    folder = run.out / "sweep" / f"{spec.method}-{spec.sparsity:g}{'-fine-tuned' if fine_tuned else ''}"
    file = folder / "row.json"
    if not file.is_file():
        work, _ = pruning(Run(recipe, run.data, run.out))
        prune(work, folder)
        write_atomically(file, encode_json(_measured(run, folder, spec.method, fine_tuned)))
    return read_json(file, Row)


def _measured(run: Run, folder: Path, method: str, fine_tuned: bool) -> Row:
    checkpoint, network = load_checkpoint(folder)
    films = run.films("test")
    found = judge(method, films, score(network, films.images, checkpoint.preprocessing), checkpoint.operating, run.source.synthetic)
    return Row(
        method=method,
        fine_tuned=fine_tuned,
        sparsity=checkpoint.sparsity,
        accuracy=found.accuracy or 0.0,
        accuracy_at_half=found.at_half["accuracy"] or 0.0,
        recall=found.recall or 0.0,
        roc_auc=found.roc_auc or 0.0,
    )


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table, under HEAD."""
    published = PUBLISHED.get(round(row.sparsity, 2)) if row.method == "random" and not row.fine_tuned else None
    return (
        row.method,
        "yes" if row.fine_tuned else "no",
        number(row.sparsity),
        number(row.accuracy_at_half),
        number((row.sparsity + row.accuracy_at_half) / 2),
        number(published),
        *map(number, (row.accuracy, row.recall, row.roc_auc)),
    )


def _lines(rows: list[Row]) -> str:
    return table(HEAD, map(cells, rows))


if __name__ == "__main__":
    with_run(sweep, "train")
