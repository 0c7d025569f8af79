"""A pruned model against its dense parent and against the usual route, NNCF's int8 of the dense model: all in one run, in turns.

    python -m benchmarks.pruned_models RECIPE RUN CHEST_XRAY [KEY=VALUE ...]

RUN is where RECIPE was trained and pruned, with the same overrides. OpenVINO, two threads, one film at a time. Prints, and keeps in
docs/results/pruned-NAME-seedN.json, bytes, milliseconds, and what each misses of the official test films, which choose nothing: the
thresholds come from held-out patients.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from benchmarks.given import with_run
from toolkit.benchmark.compare import in_turns
from toolkit.cli.options import number, table
from toolkit.core import operating
from toolkit.core.codec import Frozen, encode_json
from toolkit.core.drift import DriftRow
from toolkit.core.files import write_atomically
from toolkit.core.metrics import roc_auc
from toolkit.core.recipe import ValidateSpec
from toolkit.infer.runtimes import Session, runtime
from toolkit.models.registry import count_parameters
from toolkit.pipeline import Run
from toolkit.quantize.calibration import calibration_images
from toolkit.quantize.for_openvino import quantize
from toolkit.quantize.ladder import Settings
from toolkit.quantize.lower import lower
from toolkit.stages import holdout_of
from toolkit.train.checkpoint import load_checkpoint
from toolkit.validate import drift
from toolkit.validate.evaluate import session_logits

THREADS = 2
FOLDER = Path(__file__).parent.parent / "docs" / "results"
HEAD = ("form", "parameters", "MB", "smaller", "p50 ms", "time of dense", "recall", "specificity", "AUC", "recall loss pt", "AUC loss")
DENSE, PRUNED, INT8 = "dense, float", "pruned, float", "dense, int8 (NNCF)"


class Row(Frozen, frozen=True, kw_only=True):
    """One form of the model; losses against the dense float one."""

    name: str
    parameters: int
    bytes: int
    p50_ms: float
    faster_rounds: int
    rounds: int
    recall: float
    specificity: float
    roc_auc: float
    recall_loss_pt: float
    roc_auc_loss: float
    lost_positives: int
    gained_positives: int


class Comparison(Frozen, frozen=True, kw_only=True):
    """One seed."""

    recipe: str
    seed: int
    rows: tuple[Row, ...]


def compare(run: Run) -> None:
    """Compare, print, keep."""
    recipe = run.recipe
    found = Comparison(recipe=recipe.name, seed=recipe.seed, rows=_rows(run))
    write_atomically(FOLDER / f"pruned-{recipe.name}-seed{recipe.seed}.json", encode_json(found))
    print(table(HEAD, [cells(row, found.rows[0]) for row in found.rows]))


def _rows(run: Run) -> tuple[Row, ...]:
    networks = {DENSE: load_checkpoint(run.folder("train"))[1], PRUNED: load_checkpoint(run.folder("prune"))[1]}
    parameters = {name: count_parameters(network) for name, network in networks.items()}
    parameters[INT8] = parameters[DENSE]
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, tuple[Path, ...]] = {}
        for place, (name, network) in enumerate(networks.items()):
            file = Path(folder) / f"{place}.onnx"
            file.write_bytes(lower(network, run.recipe.preprocessing, run.recipe.export.opset))
            files[name] = (file,)
        images = calibration_images(run.films("train"), run.recipe.quantize.calibration_films, run.recipe.seed)
        files[INT8] = quantize(images, Settings(files[DENSE][0]), Path(folder) / "int8.xml")
        sessions = {name: runtime("openvino").load(list(paths), THREADS) for name, paths in files.items()}
        times = in_turns(sessions, images[:1])
        sizes = {name: sum(path.stat().st_size for path in paths) for name, paths in files.items()}
        judged = _drift(run, sessions)
    return tuple(
        Row(
            name=name,
            parameters=parameters[name],
            bytes=sizes[name],
            p50_ms=float(np.median(times[name])),
            faster_rounds=int((times[name] < times[DENSE]).sum()),
            rounds=len(times[name]),
            recall=row.recall or 0.0,
            specificity=specificity,
            roc_auc=area,
            recall_loss_pt=row.recall_loss_pt or 0.0,
            roc_auc_loss=row.roc_auc_loss or 0.0,
            lost_positives=row.lost_positives,
            gained_positives=row.gained_positives,
        )
        for name, (row, specificity, area) in judged.items()
    )


def _drift(run: Run, sessions: dict[str, Session]) -> dict[str, tuple[DriftRow, float, float]]:
    """Each form against the dense float one on the test films, each at the threshold that held-out patients gave it."""
    holdout, test = holdout_of(run), run.films("test")
    scores = {}
    for name, session in sessions.items():
        point = operating.choose(holdout.labels, session_logits(session, holdout.images, name), run.recipe.train.target_recall)
        scores[name] = drift.Scores.of(name, session_logits(session, test.images, name), point)
    negatives = test.labels == 0
    found = {}
    for name, one in scores.items():
        row = drift.compare(scores[DENSE], one, test, ValidateSpec())
        area = roc_auc(test.labels, one.probability) or 0.0
        found[name] = (row, float((~one.called[negatives]).mean()), area)
    return found


def cells(row: Row, dense: Row) -> tuple[str, ...]:
    """A row of the table, under HEAD."""
    return (
        row.name,
        str(row.parameters),
        f"{row.bytes / 1e6:.2f}",
        f"{dense.bytes / row.bytes:.1f}",
        f"{row.p50_ms:.3f}",
        f"{row.p50_ms / dense.p50_ms:.2f}",
        *map(number, (row.recall, row.specificity, row.roc_auc)),
        f"{row.recall_loss_pt:.2f} ({row.lost_positives} lost, {row.gained_positives} gained)",
        f"{row.roc_auc_loss:.4f}",
    )


def means(seeds: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """Mean and standard deviation over seeds of the pruned form and of int8, under HEAD."""
    found = []
    for place, name in ((1, PRUNED), (2, INT8)):
        pairs = [(one.rows[place], one.rows[0]) for one in seeds]
        found.append(
            (
                name,
                "",
                *(_spread([row.bytes / 1e6 for row, _ in pairs], 2), _spread([dense.bytes / row.bytes for row, dense in pairs], 1)),
                *("", _spread([row.p50_ms / dense.p50_ms for row, dense in pairs], 2)),
                *(_spread([getattr(row, key) for row, _ in pairs], 3) for key in ("recall", "specificity", "roc_auc")),
                *(_spread([row.recall_loss_pt for row, _ in pairs], 2), _spread([row.roc_auc_loss for row, _ in pairs], 4)),
            )
        )
    return found


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{fmean(values):.{digits}f} ± {stdev(values):.{digits}f}" if len(values) > 1 else f"{values[0]:.{digits}f}"


if __name__ == "__main__":
    with_run(compare, "prune")
