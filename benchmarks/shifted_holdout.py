"""Which held-out set ranks recipes as the official test does? Trains MobileNetV2 on small films by recipes from careless to strong,
scores every set after every epoch, and compares the order in which each held-out set puts these networks with the order of the test
films. It chooses a held-out set, no recipe.

    python benchmarks/shifted_holdout.py CHEST_XRAY WEIGHTS OUT.json [EPOCHS]

Candidates, a tenth of the patients each, none trained on: `random`; `lowest`, the lowest numbers of each list; `conflict`, every second
of those that contradict the short cuts of the set most; and the random ones changed by one fixed draw: `stretched` (geometry alone),
`distorted` (the strong augmentation), `counter` (normals seen closer, pneumonias from further off, against what is usual).
`kept away` is the whole list of normals IM and all viral pneumonias; each recipe is trained once more without them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import AugmentSpec, DataSpec, OptimizerSpec, ScheduleSpec, TrainSpec
from toolkit.data.films import Films, prepare_films
from toolkit.data.shortcuts import contradiction
from toolkit.data.sources import read_source
from toolkit.data.splits import split_by_patient
from toolkit.models.registry import build
from toolkit.train.augment import changed_once
from toolkit.train.fit import Callback, fit
from toolkit.train.module import Classifier
from toolkit.train.score import score
from toolkit.train.weights import initialise

SIZE_PX = 112
LOOK = Preprocessing(size_px=SIZE_PX, scale=1 / 127.5, offset=-1.0)
TONES = AugmentSpec(flip=True, gamma=0.4, contrast=0.5, brightness=0.1, noise=0.05)
SHAPE = AugmentSpec(flip=True, aspect=0.28, crop=(0.75, 1.1), rotate_deg=8, shear_rad=0.05)
STRONG = msgspec.structs.replace(SHAPE, gamma=0.4, contrast=0.5, brightness=0.1, blur_px=1.0, noise=0.05, erase=0.25)
CLOSER, FURTHER = AugmentSpec(crop=(0.7, 0.85)), AugmentSpec(crop=(1.0, 1.15))
NAMES = ("random", "lowest", "conflict", "stretched", "distorted", "counter", "kept away")
RECIPES = {
    "none": (AugmentSpec(), None),
    "mild": (AugmentSpec(flip=True, zoom=0.1, rotate_deg=5), None),
    "tones": (TONES, None),
    "shape": (SHAPE, None),
    "strong": (STRONG, None),
    "strong, closer": (msgspec.structs.replace(STRONG, crop=(0.55, 1.15)), None),
}
METRICS = ("auc", "error", "loss")
Rule = Literal["random", "lowest", "groups", "conflict"]


class Watch(Callback):
    """Scores every set after every epoch."""

    def __init__(self, sets: dict[str, Films]) -> None:
        self.sets = sets
        self.rows: list[dict[str, float]] = []

    def on_validation_epoch_start(self, trainer: object, pl_module: Classifier) -> None:  # noqa: ARG002
        """One row more; averaged weights are in place."""
        row = {}
        for name, films in self.sets.items():
            logits = score(pl_module.network, films.images, LOOK)
            row[f"{name} auc"] = float(roc_auc_score(films.labels, logits))
            calls, signed = logits > 0, np.where(films.labels == 1, logits, -logits)
            row[f"{name} loss"] = float(np.mean([np.logaddexp(0, -signed[films.labels == label]).mean() for label in (0, 1)]))
            row[f"{name} error"] = float(np.mean([np.mean(calls[films.labels == label] != label) for label in (0, 1)]))
        self.rows.append(row)


def watched(recipe: str, train: Films, sets: dict[str, Films], weights: str, epochs: int) -> list[dict[str, float]]:
    """Figures of all sets after each epoch."""
    changes, average = RECIPES[recipe]
    spec = TrainSpec(
        model="mobilenet_v2",
        epochs=epochs,
        learning_rate=4e-4,
        optimizer=OptimizerSpec(name="adamw", weight_decay=0.05),
        schedule=ScheduleSpec(name="one_cycle"),
        augment=changes,
        average=average,
        keep="last",
        early_stopping_epochs=None,
        precision="bf16",
    )
    torch.manual_seed(1)
    network = build(spec.model, LOOK)
    initialise(network, weights)
    watch = Watch(sets)
    with tempfile.TemporaryDirectory() as folder:
        fit(Classifier(network, spec, LOOK, 1), train, next(iter(sets.values())), Path(folder), (watch,))
    return watch.rows


def main() -> None:
    """Train, score, compare."""
    data, weights, out = sys.argv[1:4]
    epochs = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    source = read_source(Path(data))
    pool = prepare_films(source, source.of("train"), LOOK, "")
    against = dict(zip([case.name for case in pool.cases], contradiction(pool, 1).tolist(), strict=True))
    said = [against[case.name] if case.label == 0 else 1 - against[case.name] for case in pool.cases]
    print(f"trivial statistics alone: cross-validated AUC {roc_auc_score(pool.labels, said):.3f} on the train films", flush=True)
    rules: tuple[Rule, ...] = ("random", "lowest", "conflict")
    split = {rule: split_by_patient(source, DataSpec(holdout=0.1, holdout_rule=rule), 1, against) for rule in rules}
    held = {name: {case.patient for case in parts.holdout} for name, parts in split.items()}

    def rows(patients: set[str], inside: bool) -> list[int]:
        return [row for row, case in enumerate(pool.cases) if (case.patient in patients) is inside]

    sets = {name: pool.take(rows(patients, True)) for name, patients in held.items()}
    sets["stretched"] = changed_once(sets["random"], SHAPE)
    sets["distorted"] = changed_once(sets["random"], STRONG)
    sets["counter"] = counter(sets["random"])
    sets["test"] = prepare_films(source, source.of("test"), LOOK, "")
    train = pool.take(rows(set().union(*held.values()), False))
    away = split_by_patient(source, DataSpec(holdout=0.1, holdout_rule="groups", kept_away=("IM", "virus")), 1)
    left = {case.patient for case in away.train}
    away_train, away_set = pool.take(rows(left, True)), {"kept away": pool.take(rows(left, False))}
    results = {}
    for recipe in RECIPES:
        pairs = zip(watched(recipe, train, sets, weights, epochs), watched(recipe, away_train, away_set, weights, epochs), strict=True)
        results[recipe] = [row | other for row, other in pairs]
        print(recipe, json.dumps(results[recipe][-1]), flush=True)
    counts = {name: len(films) for name, films in {"train": train, **sets, **away_set}.items()}
    found = rank_correlations(results)
    Path(out).write_text(json.dumps({"films": counts, "recipes": results, "rank_correlation": found}, indent=1) + "\n")
    for label, names in found.items():
        for name, values in names.items():
            print(f"{label}, {name}: " + ", ".join(f"{metric} {value:+.2f}" for metric, value in values.items()))


def counter(films: Films) -> Films:
    """Normals closer, pneumonias from further off."""
    images = np.empty_like(films.images)
    for label, spec in ((0, CLOSER), (1, FURTHER)):
        rows = np.flatnonzero(films.labels == label)
        images[rows] = changed_once(films.take(rows), spec).images
    return Films(images, films.labels, films.cases)


def rank_correlations(results: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Spearman's rank correlation of each held-out figure with the test's, over the recipes' last epochs and over all epochs."""
    last, every = [rows[-1] for rows in results.values()], [row for rows in results.values() for row in rows]
    return {
        label: {
            name: {
                metric: float(spearmanr([row[f"{name} {metric}"] for row in rows], [row[f"test {metric}"] for row in rows])[0])
                for metric in METRICS
            }
            for name in NAMES
        }
        for label, rows in (("last epochs", last), ("all epochs", every))
    }


if __name__ == "__main__":
    main()
