"""Does the small network fall off faster than the dense one as films get worse?

reference_corruptions.csv   sha256, label, then the dense network's probability under each CORRUPTION-SEVERITY; clean-0 is the film as it is
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit.core.drift import CorruptionCurve, CorruptionPoint, Robustness
from toolkit.core.metrics import Confusion, roc_auc
from toolkit.core.progress import track
from toolkit.data.cases import Labelled
from toolkit.errors import BundleError
from toolkit.imaging.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from toolkit.imaging.decode import Pixels
from toolkit.infer.runtimes import Session
from toolkit.infer.stream import ahead
from toolkit.validate.scores import Probabilities, Scores, parse_scores

Answer = Callable[[Pixels], NDArray[np.float32]]
"""uint8 `[N, 1, H, W]` -> logits float32 `[N]`; several threads ask at once."""
Place = tuple[str, int]
CLEAN: Place = ("clean", 0)
PLACES: tuple[Place, ...] = (CLEAN, *((name, severity) for name in CORRUPTIONS for severity in SEVERITIES if severity))
REFERENCE_CORRUPTIONS = "reference_corruptions.csv"


def choose(films: Labelled, count: int) -> list[int]:
    """Rows of `count` films, half of them positive where there are as many, in the order of their digests: the same ones everywhere."""
    order = sorted(range(len(films.cases)), key=lambda row: films.cases[row].sha256)
    halves = [[row for row in order if films.cases[row].label == label] for label in (1, 0)]
    sick = min(len(halves[0]), max(count // 2, count - len(halves[1])))
    return sorted([*halves[0][:sick], *halves[1][: count - sick]])


def corrupted_logits(images: Pixels, films: Labelled, answers: Mapping[str, Answer]) -> dict[str, dict[Place, NDArray[np.float32]]]:
    """Logits `[N]` of each model in each place of PLACES; `images` uint8 `[N, 1, H, W]` are corrupted once for all models, and a place is
    worked on by a thread, on all cores."""

    def asked(place: Place) -> dict[str, NDArray[np.float32]]:
        worse = _corrupted(images, films, place)
        return {name: answer(worse) for name, answer in answers.items()}

    said = list(track(ahead(PLACES, asked), len(PLACES), "corrupt films"))
    return {name: {place: logits[name] for place, logits in zip(PLACES, said, strict=True)} for name in answers}


def film_by_film(session: Session) -> Answer:
    """The session's answers as in a clinic; to a small network batches bring nothing."""
    return lambda images: np.concatenate([session.logits(image[None]) for image in images])


def compare(reference: Mapping[Place, Scores], artifacts: Mapping[str, Mapping[Place, Scores]], films: Labelled) -> Robustness:
    """Curves of each artifact beside those of the reference, each at its own threshold."""
    curves = [_curve(name, corruption, reference, scores, films) for name, scores in artifacts.items() for corruption in CORRUPTIONS]
    return Robustness(films=len(films.cases), positives=int((films.labels == 1).sum()), curves=tuple(curves))


def write_corruptions(films: Labelled, reference: Mapping[Place, Probabilities]) -> str:
    """`reference_corruptions.csv`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("sha256", "label", *(_column(place) for place in PLACES)))
    for row, case in enumerate(films.cases):
        table.writerow((case.sha256, case.label, *(f"{reference[place][row]:.6f}" for place in PLACES)))
    return text.getvalue()


def read_corruptions(text: str, where: str) -> dict[str, dict[Place, float]]:
    """By digest, the reference's probability in each place; raises BundleError when a column is missing or a value is no probability."""
    names, known = parse_scores(text, where, ("sha256", "label"))
    missing = [_column(place) for place in PLACES if _column(place) not in names]
    if missing:
        raise BundleError(f"{where} lacks the columns {', '.join(missing[:3])}; it was made by another version: seal the bundle again.")
    return {digest: {place: values[names.index(_column(place))] for place in PLACES} for digest, (_, values) in known.items()}


def _corrupted(images: Pixels, films: Labelled, place: Place) -> Pixels:
    if place == CLEAN:
        return images
    return np.stack([corrupt(image[0], *place, case.sha256)[None] for image, case in zip(images, films.cases, strict=True)])


def _curve(
    name: str, corruption: str, reference: Mapping[Place, Scores], artifact: Mapping[Place, Scores], films: Labelled
) -> CorruptionCurve:
    points = []
    for severity in SEVERITIES:
        place = (corruption, severity) if severity else CLEAN
        before, after = reference[place], artifact[place]
        points.append(
            CorruptionPoint(
                severity=severity,
                roc_auc_reference=roc_auc(films.labels, before.probability),
                roc_auc=roc_auc(films.labels, after.probability),
                recall_reference=Confusion.of(films.labels, before.called).rates()[0]["recall"],
                recall=Confusion.of(films.labels, after.called).rates()[0]["recall"],
            )
        )
    return CorruptionCurve(
        artifact=name,
        corruption=corruption,
        points=tuple(points),
        auc_area_pt=area_pt([(point.roc_auc_reference, point.roc_auc) for point in points]),
        recall_area_pt=area_pt([(point.recall_reference, point.recall) for point in points]),
    )


def area_pt(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
    """Mean loss in points over the severities, by trapezoids, beyond the loss of the first; (reference, artifact) at each. None where one
    of them is."""
    losses = [before - after for before, after in pairs if before is not None and after is not None]
    if len(losses) < len(pairs):
        return None
    beyond = np.array(losses) - losses[0]
    return float(100 * np.trapezoid(beyond) / (len(beyond) - 1))


def _column(place: Place) -> str:
    return f"{place[0]}-{place[1]}"
