"""The tables of docs/results.md, made from the evaluations in docs/results/, and the one of README.md.

python -m benchmarks.results train RECIPE SEED CHEST_XRAY [KEY=VALUE ...]           # train in runs/, measure the official test once
python -m benchmarks.results short RECIPE CHEST_XRAY                               # a sign of life: random weights, one epoch, few films
python -m benchmarks.results record RECIPE SEED CHECKPOINT_DIR CHEST_XRAY [NOTE]   # the second half alone, of a checkpoint that is there
python -m benchmarks.results sealed RECIPE BUNDLE                                  # the dense reference that a bundle was sealed with
python -m benchmarks.results write                                                # docs/results.md, and README.md's table
"""

from __future__ import annotations

import csv
import itertools
import json
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import msgspec
import numpy as np
import yaml

from benchmarks import artifacts, decode_drift, gpu, latency_checks, overflow, pruned_models, pruning_sweep, scaling, shipped
from toolkit.core.bundle import REFERENCE_SCORES, Bundle
from toolkit.core.codec import Frozen, encode_json, read_json
from toolkit.core.evaluation import Evaluation
from toolkit.core.files import write_atomically
from toolkit.core.metrics import Confusion
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import read_recipe
from toolkit.core.reports import RunReport
from toolkit.pipeline import Run, run_stages
from toolkit.report.render import three, with_interval

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "results"
PAGE = ROOT / "docs" / "results.md"
README = ROOT / "README.md"
METRICS = ("accuracy", "recall", "specificity", "roc_auc")
PRUNED = "pruned-*.json"
SHORT, SHORT_FILMS = "SHORT RUN: ", 80
LIGHT = ("szanet", "custom-cnn", "mobilenet-v2")
AT_HALF = {"accuracy": "accuracy", "f1": "F1"}
BEGIN, BEGIN_SHIPPED, END = "<!-- begin: benchmarks/results.py -->", "<!-- begin: benchmarks/shipped.py -->", "<!-- end -->"


class Record(Frozen, frozen=True, kw_only=True):
    """One trained checkpoint and its only look at the official test films. `note` says what was not as the recipe has it."""

    recipe: str
    seed: int
    epochs: int
    parameters: int
    note: str
    evaluation: Evaluation


def record(recipe: str, seed: int, checkpoint: Path, data: Path, note: str) -> None:
    """Evaluate a checkpoint and keep the figures; a second look is refused."""
    from toolkit.examine import examine
    from toolkit.models.registry import count_parameters

    file = FOLDER / f"{_stem(recipe, seed)}.json"
    if file.exists():
        sys.exit(f"{file} is there: the test films were looked at; remove it to publish another checkpoint.")
    found = examine(checkpoint, data)
    kept = Record(
        recipe=recipe,
        seed=seed,
        epochs=found.checkpoint.epochs,
        parameters=count_parameters(found.network),
        note=note,
        evaluation=found.evaluation,
    )
    write_atomically(file, encode_json(kept))
    print(file, *(f"{name} {with_interval(found.evaluation, name)}" for name in METRICS))


def train(recipe: str, seed: int, data: Path, overrides: Sequence[str]) -> None:
    """Train as `cxr-edge train` does, then record; what was set is noted, but for the places of files."""
    run = Run(read_recipe(ROOT / recipe, (f"seed={seed}", *overrides)), data, ROOT / "runs" / _stem(recipe, seed))
    run_stages(run, "train", "train")
    noted = [one for one in overrides if not Path(one.partition("=")[2]).exists()]
    record(recipe, seed, run.folder("train"), data, ", ".join(noted))


def short(recipe: str, data: Path) -> None:
    """One epoch of a recipe whose first weights cannot be had here, on SHORT_FILMS films of each class; noted as that."""
    with tempfile.TemporaryDirectory() as folder:
        few = Path(folder)
        (few / "test").symlink_to(data.resolve() / "test")
        for label in ("NORMAL", "PNEUMONIA"):
            (few / "train" / label).mkdir(parents=True)
            for film in sorted((data.resolve() / "train" / label).iterdir())[:SHORT_FILMS]:
                (few / "train" / label / film.name).symlink_to(film)
        run = Run(read_recipe(ROOT / recipe, ("train.weights=random", "train.epochs=1")), few, few / "run")
        run_stages(run, "train", "train")
        record(recipe, 1, run.folder("train"), data, f"{SHORT}random weights, one epoch, {2 * SHORT_FILMS} films")


def sealed(recipe: str, folder: Path) -> None:
    """Keep the figures of a bundle's dense reference; those at .5 come from its scores (temperature does not move .5)."""
    manifest = Bundle(folder).manifest
    assert manifest.reference is not None
    with (folder / REFERENCE_SCORES).open(encoding="ascii") as stream:
        scores = [(int(row["label"]), float(row["score"])) for row in csv.DictReader(stream)]
    labels, probabilities = np.array(scores).T
    at_half, _ = Confusion.of(labels.astype(int), probabilities >= 0.5).rates()
    report = read_json(folder / "report.json", RunReport)
    best = min(report.history["train"], key=lambda row: row["holdout_loss"])
    kept = Record(
        recipe=recipe,
        seed=1,
        epochs=int(best["epoch"]),
        parameters=_parameters(manifest.model, manifest.preprocessing),
        note=f"the dense network of exported/{folder.name}",
        evaluation=msgspec.structs.replace(manifest.reference.metrics, at_half=at_half),
    )
    write_atomically(FOLDER / f"{_stem(recipe, 1)}.json", encode_json(kept))


def page(text: str) -> str:
    """`text` of docs/results.md with its tables made anew."""
    return _between(text, BEGIN, tables())


def readme(text: str) -> str:
    """`text` of README.md with its table made anew."""
    where, head, rows = shipped.readme()
    return _between(text, BEGIN_SHIPPED, f"{_table(head, rows)}\n{where}\n")


def _between(text: str, begin: str, content: str) -> str:
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(END)
    return f"{before}{begin}\n\n{content}\n{END}{after}"


def _stem(recipe: str, seed: int) -> str:
    return f"{recipe.removeprefix('recipes/').removesuffix('.yaml').replace('/', '-')}-seed{seed}"


def tables() -> str:
    """All tables."""
    records: dict[str, list[Record]] = {}
    for file in sorted(set(FOLDER.glob("*-seed*.json")) - set(FOLDER.glob(PRUNED))):
        found = read_json(file, Record)
        records.setdefault(found.recipe, []).append(found)
    return "\n".join(
        (
            *_shipped(),
            _all_models(records),
            _light_models(records),
            *_pruned_models(),
            *_sweep(),
            *_artifacts(),
            *_gpu(),
            *_latency_checks(),
            *_scaling(),
            *_decode_drift(),
            *_overflow(),
            *_held_out_sets(),
            *_screen(),
            *_fuzz(),
        )
    )


def _shipped() -> list[str]:
    """What exported/ holds, bundle by bundle."""
    return [
        f"## {shipped.title(bundle)} (benchmarks/shipped.py)\n\n{_table(shipped.ARTIFACTS, shipped.artifacts(bundle))}"
        for bundle in shipped.bundles()
    ]


def _all_models(records: dict[str, list[Record]]) -> str:
    head = ("model", "parameters", "published", "faithful recipe", "strong recipe", "command")
    rows = []
    for row in yaml.safe_load((FOLDER / "models.yaml").read_text(encoding="utf-8")):
        faithful = f"recipes/reports/{row['faithful']}.yaml" if "faithful" in row else None
        strong = f"recipes/{row['strong']}.yaml" if "strong" in row else None
        command = strong or faithful
        given = " --set train.weights=FILE" if command and read_recipe(ROOT / command).train.weights not in ("random", "imagenet") else ""
        rows.append(
            (
                f"`{row['model']}`",
                f"{_parameters(row['model'], _usual(row['model'])):,}".replace(",", " "),
                row["published"],
                _shown(records.get(faithful or "", ())),
                _shown(records.get(strong or "", ())),
                f"`cxr-edge train {command} --data chest_xray --out RUN{given}`" if command else "no report names a recipe",
            )
        )
    return "## All models\n\n" + _table(head, rows)


def _parameters(model: str, preprocessing: Preprocessing) -> int:
    import torch

    from toolkit.models.registry import build, count_parameters

    with torch.device("meta"):  # counted, not filled
        return count_parameters(build(model, preprocessing))


def _usual(model: str) -> Preprocessing:
    """What the report of a model shows it."""
    small = {"cnn_94": 100, "cnn_v2": 100, "banjo_cnn": 128}
    return Preprocessing(size_px=small.get(model, 224), channels=1 if model in small else 3)


def _shown(found: Sequence[Record]) -> str:
    if not found:
        return "-"
    if found[0].note.startswith(SHORT):
        return f"{found[0].note}: AUC {three(found[0].evaluation.roc_auc)}"
    seeds = f"{len(found)} seeds" if len(found) > 1 else "one seed"
    notes = "; ".join(dict.fromkeys(one.note for one in found if one.note))
    names = {"accuracy": "accuracy", "recall": "recall", "specificity": "specificity", "roc_auc": "AUC"}
    values = ", ".join(f"{names[name]} {_mean(found, lambda one, name=name: getattr(one.evaluation, name))}" for name in METRICS)
    at_half = ", ".join(f"{shown} {_mean(found, lambda one, key=key: one.evaluation.at_half[key])}" for key, shown in AT_HALF.items())
    return f"{values}; at .5 {at_half} ({seeds}{'; ' + notes if notes else ''})"


def _mean(found: Sequence[Record], value: Callable[[Record], float | None]) -> str:
    values = [known for one in found if (known := value(one)) is not None]
    if not values:
        return "-"
    return three(fmean(values)) + (f" ± {three(stdev(values))}" if len(values) > 1 else "")


def _light_models(records: dict[str, list[Record]]) -> str:
    head = ("recipe", "seed", "accuracy", "recall", "specificity", "AUC", "threshold", "at .5: accuracy", "recall", "specificity")
    rows = []
    for name in LIGHT:
        found = records.get(f"recipes/{name}.yaml", [])
        for one in found:
            judged, half = one.evaluation, one.evaluation.at_half
            own = [with_interval(judged, metric) for metric in METRICS]
            rows.append((name, str(one.seed), *own, three(judged.threshold), *(three(half[metric]) for metric in METRICS[:3])))
        if found:
            own = [_mean(found, lambda one, metric=metric: getattr(one.evaluation, metric)) for metric in METRICS]
            at_half = [_mean(found, lambda one, metric=metric: one.evaluation.at_half[metric]) for metric in METRICS[:3]]
            rows.append((f"**{name}**", "mean ± sd", *own, "", *at_half))
    return "## The three light models, seed by seed (95 % intervals)\n\n" + _table(head, rows)


def _pruned_models() -> list[str]:
    """What benchmarks/pruned_models.py found, seed by seed."""
    found = [read_json(file, pruned_models.Comparison) for file in sorted(FOLDER.glob(PRUNED))]
    if not found:
        return []
    rows: list[tuple[str, ...]] = []
    for name, seeds in itertools.groupby(found, key=lambda one: one.recipe):
        of_model = list(seeds)
        rows += [(name, str(one.seed), *pruned_models.cells(row, one.rows[0])) for one in of_model for row in one.rows]
        rows += [(f"**{name}**", "mean ± sd", *cells) for cells in pruned_models.means(of_model)]
    title = "## Pruned models, OpenVINO, two threads, one film at a time (benchmarks/pruned_models.py)"
    return [f"{title}\n\n" + _table(("recipe", "seed", *pruned_models.HEAD), rows)]


def _artifacts() -> list[str]:
    """What benchmarks/artifacts.py found, model by model."""
    parts = []
    for file in sorted(FOLDER.glob("artifacts-*.json")):
        found = read_json(file, artifacts.Table)
        title = f"## Artifacts of {found.recipe}, seed {found.seed}, on {found.processor}, two threads (benchmarks/artifacts.py)"
        rows = _table(artifacts.HEAD, [artifacts.cells(row) for row in found.rows])
        parts.append(f"{title}\n\n{rows}\n{_table(artifacts.GAINS, artifacts.gains(found))}")
    return parts


def _gpu() -> list[str]:
    """What benchmarks/gpu.py found, model by model."""
    parts = []
    for file in sorted(FOLDER.glob("gpu-*.json")):
        found = read_json(file, gpu.Table)
        versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
        title = f"## {found.name} on a GPU: {found.gpu}, {versions} (benchmarks/gpu.py)"
        ran = [gpu.cells(row) for row in found.rows if row.p50_ms is not None]
        parts.append("\n\n".join((title, _table(gpu.HEAD, ran), *_not_measured(found.rows))))
    return parts


def _not_measured(rows: Sequence[gpu.Row]) -> list[str]:
    """One line for each reason that kept forms from running."""
    forms: dict[str, list[str]] = {}
    for row in rows:
        if row.p50_ms is None:
            # An engine's file is named after its form: one reason for all of a library.
            forms.setdefault(re.sub(r"\S+\.engine", "the engine", row.reason), []).append(f"{row.network} {row.form}")
    return [f"Not measured: {', '.join(names)}. {reason}" for reason, names in forms.items()]


def _latency_checks() -> list[str]:
    """What benchmarks/latency_checks.py found."""
    parts = []
    for file in sorted(FOLDER.glob("latency_checks-*.json")):
        found = read_json(file, latency_checks.Checks)
        where = f"{found.bundle} on {found.processor}, {found.threads} threads"
        title = f"## Our latencies beside other tools': {where} (benchmarks/latency_checks.py)"
        tables = (_table(*one) for one in latency_checks.tables(found))
        parts.append("\n".join((f"{title}\n", *tables, latency_checks.disturbance(found) + "\n")))
    return parts


def _scaling() -> list[str]:
    """What benchmarks/scaling.py found: the numbers behind its plots."""
    found = scaling.kept()
    rows = [row for model in found for row in scaling.rows(model)]
    where = ", ".join(dict.fromkeys(f"{model.processor}, {model.cores} cores" for model in found))
    return [f"## Threads and batches on {where} (benchmarks/scaling.py)\n\n{_table(scaling.HEAD, rows)}"] if found else []


def _decode_drift() -> list[str]:
    """What benchmarks/decode_drift.py found: a table for each artifact."""
    file = FOLDER / "decode_drift.json"
    rows = read_json(file, decode_drift.Table).rows if file.is_file() else ()
    return [
        f"## The same film in another file: {row.forms.artifact} (benchmarks/decode_drift.py)\n\n"
        + _table(decode_drift.HEAD, [decode_drift.cells(one) for one in (*row.forms.rows, row.twins)])
        for row in rows
    ]


def _overflow() -> list[str]:
    """What benchmarks/overflow.py found."""
    file = FOLDER / "overflow.json"
    if not file.is_file():
        return []
    found = read_json(file, overflow.Table)
    return [
        f"## int8 on {found.processor} without VNNI, {found.films} films (benchmarks/overflow.py)\n\n"
        + _table(overflow.HEAD, [overflow.cells(row) for row in found.rows])
    ]


def _sweep() -> list[str]:
    """What benchmarks/pruning_sweep.py found, recipe by recipe."""
    parts = []
    for file in sorted(FOLDER.glob(pruning_sweep.KEPT.format(recipe="*"))):
        rows = [pruning_sweep.cells(row) for row in read_json(file, tuple[pruning_sweep.Row, ...])]
        recipe = file.stem.removeprefix(pruning_sweep.KEPT.partition("{")[0])
        parts.append(f"## SZANet with zeros, {recipe} (benchmarks/pruning_sweep.py)\n\n{_table(pruning_sweep.HEAD, rows)}")
    return parts


def _screen() -> list[str]:
    """What benchmarks/screen.py found, and the sets of pictures."""
    file = FOLDER / "screen.json"
    if not file.is_file():
        return []
    found = json.loads(file.read_text(encoding="utf-8"))
    head = ("pictures", "others of this kind were fitted", "rejected", "% (95 % interval)")
    rows = [
        (row["name"], "yes" if row["fitted_kind"] else "no", f"{row['rejected']} of {row['pictures']}", _share(row))
        for row in found["rows"]
        if row["what"] != "corrupted" or row["rejected"]
    ]
    sets = [(one["name"], one["repository_name"], one["commit"][:8], one["licence"], one["role"]) for one in found["sets"]]
    title = "## What the screen rejects (benchmarks/screen.py; corrupted test films of which none is rejected are left out)"
    return [
        f"{title}\n\n{_table(head, rows)}",
        f"## Pictures for the screen\n\n{_table(('pictures', 'repository', 'commit', 'licence', 'used'), sets)}",
    ]


def _share(row: dict[str, Any]) -> str:
    low, high = (100 * value for value in row["interval95"])
    return f"{100 * row['rejected'] / row['pictures']:.1f} ({low:.1f} to {high:.1f})"


def _fuzz() -> list[str]:
    """What benchmarks/fuzz.py found."""
    file = FOLDER / "fuzz.json"
    if not file.is_file():
        return []
    found = json.loads(file.read_text(encoding="utf-8"))
    columns = ("format", "files", "answered", "refused", "crashed", "unaccounted", "slow", "slowest_ms")
    rows = [tuple(str(row[column]) for column in columns) for row in found["rows"]]
    title = f"## {found['files']} damaged files, seed {found['seed']}, largest memory {found['peak_mb']:.0f} MB (benchmarks/fuzz.py)"
    return [f"{title}\n\n{_table(columns, rows)}"]


def _held_out_sets() -> list[str]:
    """What benchmarks/shifted_holdout.py found, where it was run."""
    file = FOLDER / "shifted_holdout.json"
    if not file.is_file():
        return []
    found = json.loads(file.read_text(encoding="utf-8"))
    ranks = found["rank_correlation"]
    sets = list(ranks["last epochs"])
    head = ("recipe, last epoch", *(f"{name} ({found['films'][name]})" for name in (*sets, "test")))
    rows = [(name, *(_auc_and_loss(rows[-1], one) for one in (*sets, "test"))) for name, rows in found["recipes"].items()]
    rows += [
        (f"**rank correlation with the test's {metric}, {label}**", *(f"{names[one][metric]:+.2f}" for one in sets), "")
        for label, names in ranks.items()
        for metric in ("auc", "loss", "error")
    ]
    return ["## Which held-out set ranks recipes (AUC, class-balanced loss; films in brackets)\n\n" + _table(head, rows)]


def _auc_and_loss(row: dict[str, float], name: str) -> str:
    return f"{row[f'{name} auc']:.3f}, {row[f'{name} loss']:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """`train`, `short`, `sealed`, `record` or `write`."""
    if sys.argv[1] == "train":
        recipe, seed, data = sys.argv[2:5]
        train(recipe, int(seed), Path(data), sys.argv[5:])
    elif sys.argv[1] == "sealed":
        sealed(sys.argv[2], Path(sys.argv[3]))
    elif sys.argv[1] == "short":
        short(sys.argv[2], Path(sys.argv[3]))
    elif sys.argv[1] == "record":
        recipe, seed, checkpoint, data = sys.argv[2:6]
        read_recipe(ROOT / recipe)
        record(recipe, int(seed), Path(checkpoint), Path(data), sys.argv[6] if len(sys.argv) > 6 else "")
    else:
        for file, made in ((PAGE, page), (README, readme)):
            write_atomically(file, made(file.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
