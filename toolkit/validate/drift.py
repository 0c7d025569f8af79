"""What compression cost, in missed patients: an artifact against the dense reference on the same films."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.core.bundle import REFERENCE_SCORES, Bundle
from toolkit.core.metrics import Confusion, above_chance, roc_auc
from toolkit.core.operating import OperatingPoint
from toolkit.core.recipe import ValidateSpec
from toolkit.core.reports import DriftReport, DriftRow, Flip, Verdict
from toolkit.data.films import Films
from toolkit.errors import BundleError, DataError
from toolkit.validate.intervals import auc_interval, mcnemar, upper_bound

BLIND = "it no longer tells the classes apart: the interval of its AUC reaches .5"


@dataclass(frozen=True)
class Scores:
    """Probabilities float64 `[N]` of one model on the films, and the threshold that it is used at."""

    name: str
    probability: NDArray[np.float64]
    threshold: float

    @classmethod
    def of(cls, name: str, logits: NDArray[np.float32], point: OperatingPoint) -> Scores:
        """From the graph's output."""
        return cls(name, point.probability(logits), point.threshold)

    @property
    def called(self) -> NDArray[np.bool_]:
        """True where the film is called positive."""
        return self.probability >= self.threshold


def compare(reference: Scores, artifact: Scores, films: Films, spec: ValidateSpec) -> DriftRow:
    """One row of the drift report; raises DataError without a positive film.

    `recall_loss_upper95_pt` bounds the share of positives that are lost (Clopper-Pearson on the lost ones alone): a gained
    positive is another patient and is not set off against a lost one, so the bound is on the safe side. An artifact that calls
    every film positive loses no recall; it fails all the same when the reference tells the classes apart and it does not.
    """
    sick = films.labels == 1
    if not sick.any():
        raise DataError("There is no positive film: a loss of recall cannot be judged. Give a folder with PNEUMONIA films.")
    lost, gained = sick & reference.called & ~artifact.called, sick & ~reference.called & artifact.called
    before, after = (Confusion.of(films.labels, model.called) for model in (reference, artifact))
    rates_before, _ = before.rates()
    rates_after, reason = after.rates()
    changed = reference.called != artifact.called
    right_before, right_after = reference.called == sick, artifact.called == sick
    loss = _points(rates_before["recall"], rates_after["recall"])
    bound = 100 * upper_bound(int(lost.sum()), int(sick.sum()))
    if blind := _tells_apart(reference, films) and not _tells_apart(artifact, films):
        reason["verdict"] = BLIND
    held = (loss or 0) if spec.mode == "observed" else bound
    return DriftRow(
        artifact=artifact.name,
        recall=rates_after["recall"],
        recall_reference=rates_before["recall"],
        recall_loss_pt=loss,
        recall_loss_upper95_pt=bound,
        lost_positives=int(lost.sum()),
        gained_positives=int(gained.sum()),
        specificity_loss_pt=_points(rates_before["specificity"], rates_after["specificity"]),
        accuracy_loss_pt=_points(rates_before["accuracy"], rates_after["accuracy"]),
        roc_auc_loss=_difference(roc_auc(films.labels, reference.probability), roc_auc(films.labels, artifact.probability)),
        mcnemar_p=mcnemar(int((right_before & ~right_after).sum()), int((~right_before & right_after).sum())),
        flips=tuple(_flip(films, reference, artifact, row) for row in np.flatnonzero(changed).tolist()),
        subgroups=_subgroups(films, lost, gained),
        limit_pt=spec.max_recall_loss_pt,
        mode=spec.mode,
        verdict="pass" if held <= spec.max_recall_loss_pt + 1e-9 and not blind else "fail",
        reason=reason,
    )


def summarise(reference: str, films: Films, rows: tuple[DriftRow, ...], synthetic: bool) -> DriftReport:
    """All rows under one verdict."""
    verdict: Verdict = "pass" if rows and all(row.verdict == "pass" for row in rows) else "fail"
    return DriftReport(reference=reference, n=len(films), rows=rows, verdict=verdict, synthetic=synthetic, unusable=dict(films.unusable))


def write_reference(films: Films, scores: Scores) -> str:
    """`reference_scores.csv`: whoever holds the films can check drift without the dense model."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("sha256", "label", "score"))
    for case, score in zip(films.cases, scores.probability, strict=True):
        table.writerow((case.sha256, case.label, f"{score:.9f}"))
    return text.getvalue()


def read_reference(bundle: Bundle, films: Films) -> tuple[Scores, Films]:
    """The dense model's scores on those of the films that the bundle knows, by content; the others are listed as unusable.

    Raises BundleError when the bundle carries no reference, DataError when it knows none of the films.
    """
    reference = bundle.manifest.reference
    file = bundle.verified(REFERENCE_SCORES)
    if reference is None or file is None:
        raise BundleError(f"{bundle.folder} carries no reference scores; judge it --against another bundle, or run compress.")
    known = _parse_scores(file.read_text(encoding="ascii"))
    rows = [row for row, case in enumerate(films.cases) if case.sha256 in known]
    if not rows:
        raise DataError(
            f"None of the {len(films)} films is among the {len(known)} that {bundle.folder} has reference scores of; "
            "give the folder of films that it was sealed with, or compare --against another bundle."
        )
    strangers = tuple((case.name, "is not among the reference films") for case in films.cases if case.sha256 not in known)
    kept = films.take(rows)
    kept = Films(kept.images, kept.labels, kept.cases, films.unusable + strangers)
    scores = np.array([known[case.sha256] for case in kept.cases])
    return Scores(reference.model, scores, reference.operating.threshold), kept


def _parse_scores(text: str) -> dict[str, float]:
    return {row["sha256"]: float(row["score"]) for row in csv.DictReader(io.StringIO(text))}


def _tells_apart(model: Scores, films: Films) -> bool:
    return above_chance(roc_auc(films.labels, model.probability), auc_interval(films.labels, model.probability))


def _flip(films: Films, reference: Scores, artifact: Scores, row: int) -> Flip:
    case = films.cases[row]
    return Flip(
        path=case.name,
        label=("negative", "positive")[case.label],
        reference=round(float(reference.probability[row]), 6),
        score=round(float(artifact.probability[row]), 6),
    )


def _subgroups(films: Films, lost: NDArray[np.bool_], gained: NDArray[np.bool_]) -> Mapping[str, Mapping[str, float | int | None]]:
    """Positives by group (bacteria, virus): how many were lost and gained."""
    groups = np.array([case.group for case in films.cases])
    sick = films.labels == 1
    found = {}
    for group in np.unique(groups[sick]).tolist():
        inside = (groups == group) & sick
        n, minus, plus = (int((inside & part).sum()) for part in (sick, lost, gained))
        found[group] = {"positives": n, "lost_positives": minus, "gained_positives": plus, "recall_loss_pt": 100 * (minus - plus) / n}
    return found


def _points(before: float | None, after: float | None) -> float | None:
    difference = _difference(before, after)
    return None if difference is None else 100 * difference


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after
