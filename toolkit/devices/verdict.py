"""What a device's scores say of drift: judged here, where the reference scores and scipy are."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from toolkit.core.bundle import REFERENCE_SCORES, Bundle
from toolkit.core.drift import DriftReport, DriftRow
from toolkit.core.recipe import ValidateSpec
from toolkit.core.reports import DeviceReport
from toolkit.data.cases import ALL, Case, Truth
from toolkit.devices.job import NO_NUMBER
from toolkit.errors import BundleError, DataError, DeviceError, GateError
from toolkit.validate import sealed
from toolkit.validate.drift import compare, summarise, with_checks
from toolkit.validate.scores import Scores, SealedScores, parse_scores, read_scores

NO_SCORE = "the device gave no score"


def judged(report: DeviceReport, bundle: Bundle, cases: Sequence[Case] = (), spec: ValidateSpec | None = None) -> DeviceReport:
    """The report with its drift verdict; where none can be given, a sentence among `problems` says why.

    `cases` are the films that were sent; without them the bundle's own reference scores tell the labels, and films are named by their
    digest. Raises DeviceError for a report of another bundle or of artifacts that it has not.
    """
    refuse_foreign(report, bundle)
    if not report.scores:
        return report
    try:
        drift = _drift(report, bundle, tuple(cases) or _known(report, bundle), spec or ValidateSpec())
    except (BundleError, DataError, GateError) as cause:
        return msgspec.structs.replace(report, problems=(*report.problems, f"No verdict on drift: {cause}"))
    return msgspec.structs.replace(report, drift=drift, unusable=dict(drift.unusable))


def refuse_foreign(report: DeviceReport, bundle: Bundle) -> None:
    """Raise DeviceError when the report is not of this bundle."""
    if report.bundle_sha256 != bundle.sha256:
        raise DeviceError(
            f"{report.device} measured another bundle ({report.bundle}, digest {report.bundle_sha256[:12]}) than {bundle.folder} "
            f"(digest {bundle.sha256[:12]}); give the one that was sent there."
        )
    strangers = {*report.scores, *(row.artifact for row in report.latency.rows)} - set(bundle.names)
    if strangers:
        raise DeviceError(f"{report.device} reports {', '.join(sorted(strangers))}, which {bundle.folder} does not hold.")


def _drift(report: DeviceReport, bundle: Bundle, cases: tuple[Case, ...], spec: ValidateSpec) -> DriftReport:
    scored = {digest for found in report.scores.values() for digest in found}
    scored |= {digest for digest, reason in report.unusable.items() if reason.endswith(NO_NUMBER)}
    usable = tuple(case for case in cases if case.sha256 in scored)
    left_out = tuple((case.name, report.unusable.get(case.sha256, NO_SCORE)) for case in cases if case.sha256 not in scored)
    known, films, _ = read_scores(bundle, Truth(usable, left_out))
    rows = tuple(_row(report, bundle, name, known, films, spec) for name in report.scores)
    drift = summarise(known.reference.name, films, rows, bundle.manifest.provenance.synthetic, spec.max_recall_loss_pt)
    skipped = {one.artifact: one.reason for one in report.latency.skipped if one.artifact not in report.scores}
    return msgspec.structs.replace(drift, skipped=skipped, absent=known.absent)


def _row(report: DeviceReport, bundle: Bundle, name: str, known: SealedScores, films: Truth, spec: ValidateSpec) -> DriftRow:
    artifact, found = bundle.artifact(name), report.scores[name]
    probability = np.array([found.get(case.sha256, np.nan) for case in films.cases], np.float64)
    scores = Scores(name, probability, artifact.operating.threshold)
    row = compare(known.reference, scores, films, spec)
    return with_checks(row, sealed.check(artifact, scores, known.artifacts.get(name), films))


def _known(report: DeviceReport, bundle: Bundle) -> tuple[Case, ...]:
    """Those of the films that the bundle was sealed with that the device tells of, named by their digest."""
    told = {*report.unusable, *(digest for found in report.scores.values() for digest in found)}
    file = bundle.verified(REFERENCE_SCORES)
    if file is None:
        raise BundleError(f"{bundle.folder} carries no reference scores.")
    _, known = parse_scores(file.read_text(encoding="ascii"), str(file))
    return tuple(Case(digest, ALL, label, digest, "unknown", digest) for digest, (label, _) in known.items() if digest in told)
