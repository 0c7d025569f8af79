"""What a checkpoint says of labelled films: metrics, and pictures of what it looks at. Wiring only. Needs the workshop."""

from __future__ import annotations

import csv
import io
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from toolkit.core.artifacts import Checkpoint
from toolkit.core.codec import encode_json
from toolkit.core.evaluation import Evaluation
from toolkit.core.files import folder_written_whole
from toolkit.core.progress import track
from toolkit.data.films import Films, prepare_films
from toolkit.data.sources import read_source
from toolkit.data.splits import labelled_films
from toolkit.errors import DataError, InputError
from toolkit.report import plots
from toolkit.report.render import render_explanation
from toolkit.train.checkpoint import load_checkpoint
from toolkit.train.explain import Explainer, features
from toolkit.train.fit import HISTORY, read_history
from toolkit.train.score import score
from toolkit.validate.curves import MIN_FILMS, curves, embed
from toolkit.validate.evaluate import judge

PAGE, WRONG_CALLS = "report.html", "misclassified.csv"
MAX_EMBEDDED = 1500  # films in a t-SNE picture; when there are more, some are drawn
CAPTIONS = {
    "curves": "ROC, and precision against recall",
    "confusion": "Calls at the operating point",
    "training": "Training",
    "features": "Films as pixels (before the network) and as the features that its last layer is given (after it)",
}


@dataclass(frozen=True)
class Examination:
    """A checkpoint, the films that it is judged on (the test split, or all of a folder without splits), and its logits `[N]`."""

    folder: Path
    checkpoint: Checkpoint
    network: nn.Module
    films: Films
    logits: NDArray[np.float32]
    evaluation: Evaluation


def examine(folder: Path, data: Path) -> Examination:
    """Score the films at `data` with the checkpoint in `folder`; raises what reading either of them raises."""
    checkpoint, network = load_checkpoint(folder)
    source = read_source(data, checkpoint.labels)
    films = prepare_films(source, labelled_films(source), checkpoint.preprocessing, "read films")
    logits = score(network, films.images, checkpoint.preprocessing)
    evaluation = judge(f"{checkpoint.model} (torch)", films, logits, checkpoint.operating, source.synthetic)
    return Examination(folder, checkpoint, network, films, logits, evaluation)


def explain(found: Examination, out: Path, count: int) -> Path:
    """Write curves, features, maps of `count` films, the list of wrong calls and the metrics to the folder `out`; gives its page.

    An earlier explanation at `out` is replaced. Raises InputError when something else lies there, DataError when the films are of
    one class or fewer than five, StorageError when the disk refuses.
    """
    if out.exists() and not (out / WRONG_CALLS).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} exists already and is no earlier explanation; give a new folder with --out, nothing else is overwritten.")
    classes = len(set(found.films.labels.tolist()))
    if len(found.films) < MIN_FILMS or classes < 2:
        raise DataError(
            f"Found {len(found.films)} usable films of {classes} class(es); an explanation needs {MIN_FILMS}, and both classes."
        )
    pictures = _pictures(found)
    films = _film_maps(found, count)
    title = f"{found.evaluation.artifact} on {len(found.films)} films"
    page = render_explanation(found.evaluation, title, {CAPTIONS[name]: data for name, data in pictures.items()}, films)
    with folder_written_whole(out) as place:
        (place / "films").mkdir()
        for name, data in pictures.items():
            (place / f"{name}.svg").write_bytes(data)
        for name, data in films.items():
            (place / "films" / f"{name.replace('/', '_')}.png").write_bytes(data)
        (place / WRONG_CALLS).write_text(_wrong_calls(found), encoding="utf-8")
        (place / "evaluation.json").write_bytes(encode_json(found.evaluation))
        (place / PAGE).write_text(page, encoding="utf-8")
    return out / PAGE


def _pictures(found: Examination) -> dict[str, bytes]:
    evaluation, labels = found.evaluation, found.films.labels
    at = (1 - (evaluation.specificity or 0), evaluation.recall or 0, evaluation.precision or 0)
    pictures = {
        "curves": plots.roc_and_precision_recall(curves(labels, found.logits), evaluation.roc_auc or 0, at),
        "confusion": plots.confusion_matrix(evaluation.confusion, found.checkpoint.labels),
    }
    if (found.folder / HISTORY).is_file():
        pictures["training"] = plots.training_curves(read_history(found.folder), found.checkpoint.model)
    chosen = np.random.default_rng(0).permutation(len(labels))[:MAX_EMBEDDED]
    films = found.films.take(chosen)
    small = films.images[:, 0, ::4, ::4].reshape(len(films), -1)
    after = features(found.network, films.images, found.checkpoint.preprocessing)
    places = {"before the network": embed(small.astype(np.float64)), "after the network": embed(after.astype(np.float64))}
    return pictures | {"features": plots.embeddings(places, films.labels, found.checkpoint.labels)}


def _film_maps(found: Examination, count: int) -> dict[str, bytes]:
    """By film: wrong calls first, the surest before the others (at most half of `count`), then right ones of both classes."""
    explainer = Explainer(found.network, found.checkpoint.preprocessing)
    names = found.checkpoint.labels.names
    probabilities = found.checkpoint.operating.probability(found.logits)
    pictures = {}
    for row in track(_shown(found, count), count, "maps"):
        case, maps = found.films.cases[row], explainer.maps(found.films.images[row])
        called = names[int(_calls(found)[row])]
        title = f"{case.name}: {names[case.label]}, called {called} ({probabilities[row]:.3f})"
        shown = {"activation": maps.activation, "Grad-CAM": maps.grad_cam, "guided Grad-CAM": _without_spikes(maps.guided_grad_cam)}
        pictures[case.name] = plots.film_maps(found.films.images[row, 0], shown, title)
    return pictures


def _without_spikes(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """For the eye: a few pixels of a guided map are so high that the others would look black."""
    top = float(np.quantile(values, 0.995))
    return np.clip(values / top, 0, 1) if top > 0 else values


def _shown(found: Examination, count: int) -> list[int]:
    wrong = _wrong_rows(found)[: (count + 1) // 2]
    right = np.flatnonzero(_calls(found) == found.films.labels)
    drawn = np.random.default_rng(0).permutation(right)
    by_class = [drawn[found.films.labels[drawn] == label].tolist() for label in (1, 0)]
    mixed = [row for pair in itertools.zip_longest(*by_class) for row in pair if row is not None]
    return wrong + mixed[: count - len(wrong)]


def _calls(found: Examination) -> NDArray[np.bool_]:
    return found.logits >= found.checkpoint.operating.logit_threshold()


def _wrong_rows(found: Examination) -> list[int]:
    """Rows of the wrong calls, the furthest beyond the threshold first."""
    margin = np.abs(found.logits - found.checkpoint.operating.logit_threshold())
    wrong = np.flatnonzero(_calls(found) != found.films.labels)
    rows: list[int] = wrong[np.argsort(-margin[wrong])].tolist()
    return rows


def _wrong_calls(found: Examination) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "label", "called", "probability", "threshold"))
    names, point = found.checkpoint.labels.names, found.checkpoint.operating
    probabilities = point.probability(found.logits)
    for row in _wrong_rows(found):
        case = found.films.cases[row]
        table.writerow((case.name, names[case.label], names[1 - case.label], f"{probabilities[row]:.6f}", f"{point.threshold:.6f}"))
    return text.getvalue()
