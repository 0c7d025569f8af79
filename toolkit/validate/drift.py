"""What compression cost, in missed patients: an artifact against the dense reference on the same films."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from toolkit.core.calibration import calibration_error
from toolkit.core.drift import Allowance, Change, Check, DriftReport, DriftRow, Flip, Outcome, Rate, Shift
from toolkit.core.evaluation import Verdict
from toolkit.core.metrics import Confusion, above_chance, roc_auc
from toolkit.core.recipe import ValidateSpec
from toolkit.data.cases import Labelled
from toolkit.data.groups import Groups, by_name
from toolkit.errors import DataError
from toolkit.validate import subgroups
from toolkit.validate.intervals import auc_interval, loss_p, lost_proven, mcnemar, positives_needed, upper_bound, wilson
from toolkit.validate.scores import Scores

BLIND = "it no longer tells the classes apart: the interval of its AUC reaches .5"
USUAL_LIMITS_PT = (0.5, 1.0, 2.0)
CHANCE = 0.5


def compare(reference: Scores, artifact: Scores, films: Labelled, spec: ValidateSpec, groups: Groups | None = None) -> DriftRow:
    """One row of the drift report, `groups` by default those that the file names tell.

    Raises DataError without a positive film, GateError when a model gives no number for a film.

    `recall_loss_upper95_pt` bounds the share of positives that are lost (Clopper-Pearson on the lost ones alone): a gained
    positive is another patient and is not set off against a lost one, so the bound is on the safe side. An artifact that calls
    every film positive loses no recall; it fails all the same when the reference tells the classes apart and it does not.
    """
    sick = films.labels == 1
    if not sick.any():
        raise DataError("There is no positive film: a loss of recall cannot be judged. Give a folder with PNEUMONIA films.")
    for model in (reference, artifact):
        model.refuse_gaps(films)
    own = _outcome(films, reference, artifact)
    rates, reason = _rates(films, reference, artifact)
    calls = subgroups.Calls(sick, reference.called, artifact.called)
    found = subgroups.subgroups(calls, by_name(films.cases) if groups is None else groups, spec)
    row = DriftRow(
        artifact=artifact.name,
        recall=own.recall,
        recall_reference=rates["recall"].reference,
        recall_loss_pt=own.recall_loss_pt,
        recall_loss_upper95_pt=own.recall_loss_upper95_pt,
        lost_positives=own.lost_positives,
        gained_positives=own.gained_positives,
        specificity_loss_pt=own.specificity_loss_pt,
        accuracy_loss_pt=own.accuracy_loss_pt,
        roc_auc_loss=_difference(rates["roc_auc"].reference, rates["roc_auc"].artifact),
        mcnemar_p=own.mcnemar_p,
        loss_p=own.loss_p,
        flips=tuple(_flip(films, reference, artifact, row) for row in np.flatnonzero(reference.called != artifact.called).tolist()),
        subgroups=found,
        limit_pt=spec.max_recall_loss_pt,
        mode=spec.mode,
        verdict="pass",
        reason=reason,
        rates=rates,
        shift=_shift(films, reference, artifact),
        at_reference_threshold=_outcome(films, reference, Scores(artifact.name, artifact.probability, reference.threshold)),
        positives_needed=positives_needed(own.lost_positives / int(sick.sum()), spec.max_recall_loss_pt / 100),
    )
    blind = _tells_apart(rates["roc_auc"]) == (True, False)
    return with_checks(
        row, (_recall(own, calls, spec), *_specificity(own, spec), _classes(rates["roc_auc"], blind), subgroups.check(found, spec))
    )


def with_checks(row: DriftRow, checks: Sequence[Check]) -> DriftRow:
    """The row under more limits; it passes when all hold, and `reason` says in words which do not."""
    held = (*row.checks, *checks)
    failed = [check for check in held if check.verdict == "fail"]
    reason = {**row.reason, "verdict": "; ".join(check.reason for check in failed)} if failed else row.reason
    return msgspec.structs.replace(row, checks=held, verdict="fail" if failed else "pass", reason=reason)


def summarise(reference: str, films: Labelled, rows: tuple[DriftRow, ...], synthetic: bool, limit_pt: float = 1.0) -> DriftReport:
    """All rows under one verdict."""
    verdict: Verdict = "pass" if rows and all(row.verdict == "pass" for row in rows) else "fail"
    positives = int((films.labels == 1).sum())
    return DriftReport(
        reference=reference,
        n=len(films.cases),
        positives=positives,
        rows=rows,
        verdict=verdict,
        synthetic=synthetic,
        unusable=dict(films.unusable),
        allowed=tuple(_allowance(limit, positives, len(films.cases)) for limit in sorted({*USUAL_LIMITS_PT, limit_pt} - {0, 100})),
    )


def remarks(report: DriftReport) -> list[str]:
    """Sentences on what the verdicts do not cover."""
    said = [f"{name} was not checked: {reason}." for name, reason in report.skipped.items()]
    if report.absent:
        said.append(f"{report.absent} of the films that the bundle was sealed with are not here; the judgement is of the others.")
    if report.copies:
        copy, first = next(iter(report.copies.items()))
        said.append(
            f"{len(report.copies)} films are exact copies and count twice, such as {copy} of {first}; the bounds are too narrow for it."
        )
    return said + [f"{note}." for note in report.notes]


def _outcome(films: Labelled, reference: Scores, artifact: Scores) -> Outcome:
    """Each model at the threshold that it comes with."""
    sick = films.labels == 1
    lost, gained = sick & reference.called & ~artifact.called, sick & ~reference.called & artifact.called
    before, after = (Confusion.of(films.labels, model.called).rates()[0] for model in (reference, artifact))
    right_before, right_after = reference.called == sick, artifact.called == sick
    return Outcome(
        threshold=artifact.threshold,
        recall=after["recall"],
        recall_loss_pt=_points(before["recall"], after["recall"]),
        recall_loss_upper95_pt=100 * upper_bound(int(lost.sum()), int(sick.sum())),
        lost_positives=int(lost.sum()),
        gained_positives=int(gained.sum()),
        specificity_loss_pt=_points(before["specificity"], after["specificity"]),
        accuracy_loss_pt=_points(before["accuracy"], after["accuracy"]),
        mcnemar_p=mcnemar(int((right_before & ~right_after).sum()), int((~right_before & right_after).sum())),
        loss_p=loss_p(int(lost.sum()), int(gained.sum())),
    )


def _rates(films: Labelled, reference: Scores, artifact: Scores) -> tuple[dict[str, Rate], dict[str, str]]:
    """Recall, specificity, accuracy and AUC of both, with intervals; and why one of the artifact's is null."""
    tables = [Confusion.of(films.labels, model.called) for model in (reference, artifact)]
    values = [table.rates()[0] for table in tables]
    counts = [
        {
            "recall": wilson(table.tp, table.positives),
            "specificity": wilson(table.tn, table.negatives),
            "accuracy": wilson(table.tp + table.tn, table.n),
        }
        for table in tables
    ]
    found = {
        name: Rate(reference=values[0][name], artifact=values[1][name], ci95_reference=counts[0][name], ci95=counts[1][name])
        for name in counts[0]
    }
    areas = [(roc_auc(films.labels, model.probability), auc_interval(films.labels, model.probability)) for model in (reference, artifact)]
    (before, bounds_before), (after, bounds_after) = areas
    found["roc_auc"] = Rate(reference=before, artifact=after, ci95_reference=bounds_before, ci95=bounds_after)
    return found, tables[1].rates()[1]


def _shift(films: Labelled, reference: Scores, artifact: Scores) -> Shift:
    moved = np.abs(artifact.probability - reference.probability)
    return Shift(
        mean=float(moved.mean()),
        largest=float(moved.max()),
        calibration_error_reference=calibration_error(films.labels, reference.probability),
        calibration_error=calibration_error(films.labels, artifact.probability),
    )


def _recall(own: Outcome, calls: subgroups.Calls, spec: ValidateSpec) -> Check:
    limit, observed = spec.max_recall_loss_pt, spec.mode == "observed"
    held = own.recall_loss_pt if observed else own.recall_loss_upper95_pt
    passed = held is not None and held <= limit + 1e-9
    seen = f"it loses {own.lost_positives} and gains {own.gained_positives} of {calls.positives} pneumonias"
    shown = f"{held or 0:.2f} points" if observed else f"up to {held or 0:.2f} points (95 %)"
    reason = "" if passed else f"{seen}, {shown}, and the limit is {limit:g}"
    return Check(name="recall", value=held, limit=limit, verdict="pass" if passed else "fail", reason=reason)


def _specificity(own: Outcome, spec: ValidateSpec) -> tuple[Check, ...]:
    limit, loss = spec.max_specificity_loss_pt, own.specificity_loss_pt
    if limit is None:
        return ()
    passed = loss is None or loss <= limit + 1e-9
    reason = "" if passed else f"it loses {loss:.2f} points of specificity, and the limit is {limit:g}"
    return (Check(name="specificity", value=loss, limit=limit, verdict="pass" if passed else "fail", reason=reason),)


def _classes(area: Rate, blind: bool) -> Check:
    low = area.ci95[0] if area.ci95 else area.artifact
    return Check(name="classes", value=low, limit=CHANCE, verdict="fail" if blind else "pass", reason=BLIND if blind else "")


def _tells_apart(area: Rate) -> tuple[bool, bool]:
    return above_chance(area.reference, area.ci95_reference), above_chance(area.artifact, area.ci95)


def _allowance(limit_pt: float, positives: int, films: int) -> Allowance:
    needed = positives_needed(0.0, limit_pt / 100)
    assert needed is not None, "no loss is below every limit above 0"
    return Allowance(
        limit_pt=limit_pt,
        lost_observed=math.floor(limit_pt / 100 * positives + 1e-9),
        lost_proven=lost_proven(positives, limit_pt / 100),
        positives_needed=needed,
        films_needed=math.ceil(needed * films / positives) if positives else needed,
    )


def _flip(films: Labelled, reference: Scores, artifact: Scores, row: int) -> Flip:
    case = films.cases[row]
    changes: tuple[tuple[Change, Change], ...] = (("false alarm", "cleared"), ("gained", "lost"))
    return Flip(
        path=case.name,
        label=("negative", "positive")[case.label],
        reference=round(float(reference.probability[row]), 6),
        score=round(float(artifact.probability[row]), 6),
        change=changes[case.label][int(reference.called[row])],
    )


def _points(before: float | None, after: float | None) -> float | None:
    difference = _difference(before, after)
    return None if difference is None else 100 * difference


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after
