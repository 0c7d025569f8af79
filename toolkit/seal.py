"""The end of the flow: what the stages left becomes RUN/bundle, RUN/report.json and RUN/report.html."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import msgspec

import toolkit.screen
from toolkit.benchmark.run import single_stream_p50
from toolkit.core.artifacts import FileEntry
from toolkit.core.bundle import CARD, REFERENCE_SCORES, Artifact, Bundle, Gate, Manifest, Reference, ScreenEntry, write_manifest
from toolkit.core.codec import encode_json, read_json, to_plain
from toolkit.core.drift import DriftReport, DriftRow, FlipPicture
from toolkit.core.files import folder_bytes, folder_written_whole, write_atomically
from toolkit.core.latency import LatencyReport
from toolkit.core.reports import RunReport
from toolkit.data.cases import Truth
from toolkit.infer import machine
from toolkit.judgement import FLIPS
from toolkit.pipeline import Run
from toolkit.report import drift_plots
from toolkit.report.card import render_card
from toolkit.report.render import DriftPictures, render_page
from toolkit.stages import fastest_first, read_folds, read_histories, read_pruning, read_quantizing, read_results, slower_than_float
from toolkit.train.checkpoint import load_checkpoint
from toolkit.validate.robustness import REFERENCE_CORRUPTIONS
from toolkit.validate.scores import read_scores

BUNDLE, REPORT_JSON, REPORT_HTML = "bundle", "report.json", "report.html"
SCREEN = Path(toolkit.screen.__file__).parent


def seal(run: Run) -> RunReport:
    """Write bundle and reports, each whole or not at all; raises StorageError when the disk refuses."""
    manifest = _judged_manifest(run)
    found = _report(run, manifest)
    with folder_written_whole(run.out / BUNDLE) as place:
        _fill(run, manifest, render_card(manifest, found), place)
    bundle = Bundle(run.out / BUNDLE)
    bundle.verify()
    report = msgspec.structs.replace(found, bundle_bytes=folder_bytes(bundle.folder), bundle_sha256=bundle.sha256)
    write_atomically(run.out / REPORT_JSON, encode_json(report))
    write_atomically(run.out / REPORT_HTML, render_page(report, bundle.manifest, _pictures(run, bundle, report.drift)))
    return report


def _judged_manifest(run: Run) -> Manifest:
    """The exported manifest, with metrics, drift and latency of each artifact, and the reference."""
    dense, evaluations, drift, latency = read_results(run)
    checkpoint, _ = load_checkpoint(run.folder("train"))
    p50 = single_stream_p50(latency)
    exported = Bundle(run.folder("export")).manifest
    judged = {row.artifact: (metrics, _gate(row)) for metrics, row in zip(evaluations, drift.rows, strict=True)}
    artifacts: list[Artifact] = []
    for artifact in exported.artifacts:
        metrics, gate = judged.get(artifact.name, (None, None))
        artifacts.append(msgspec.structs.replace(artifact, metrics=metrics, drift=gate, p50_ms=p50.get(artifact.name)))
    recommended = fastest_first(drift, latency)
    reference = Reference(
        model=drift.reference, operating=checkpoint.operating, weights_sha256=checkpoint.weights_sha256, films=drift.n, metrics=dense
    )
    return msgspec.structs.replace(
        exported,
        name=run.recipe.name,
        attribution=run.recipe.attribution,
        artifacts=tuple(artifacts),
        recommended=recommended[machine.family()],
        recommended_for=recommended,
        left_out={**exported.left_out, **slower_than_float(latency), **_untimed(judged, latency)},
        measured_on=latency.host.processor,
        reference=reference,
        screen=None if exported.provenance.synthetic else read_json(SCREEN / "screen.json", ScreenEntry),
    )


def _untimed(judged: Collection[str], latency: LatencyReport) -> dict[str, str]:
    """Artifacts whose answers were judged here and whose speed was not, with the reason."""
    return {skip.artifact: skip.reason for skip in latency.skipped if skip.artifact in judged}


def _fill(run: Run, manifest: Manifest, card: str, place: Path) -> None:
    for file in {file.path for artifact in manifest.artifacts for file in artifact.files}:
        shutil.copyfile(run.folder("export") / file, place / file)
    if manifest.screen:
        shutil.copyfile(SCREEN / manifest.screen.file.path, place / manifest.screen.file.path)
    judged = [name for name in (REFERENCE_SCORES, REFERENCE_CORRUPTIONS) if (run.folder("validate") / name).is_file()]
    for name in judged:
        shutil.copyfile(run.folder("validate") / name, place / name)
    (place / CARD).write_text(card, encoding="utf-8")
    files = tuple(FileEntry.of(place, name) for name in (CARD, *judged))
    write_manifest(place, msgspec.structs.replace(manifest, files=files))


def _pictures(run: Run, bundle: Bundle, report: DriftReport) -> DriftPictures:
    """What the page shows of the drift."""
    folder = run.folder("validate")
    sealed, films, _ = read_scores(bundle, Truth(run.splits.test))
    models = {name: drift_plots.Model(name, values, bundle.artifact(name).operating.threshold) for name, values in sealed.artifacts.items()}
    reference = drift_plots.Model(sealed.reference.name, sealed.reference.probability, sealed.reference.threshold)
    flips = read_json(folder / FLIPS, tuple[FlipPicture, ...])
    return DriftPictures(
        scores={name: drift_plots.scores(films.labels, reference, model) for name, model in models.items()},
        flips={(flip.artifact, flip.path): (folder / flip.file).read_bytes() for flip in flips},
        corruptions=drift_plots.corruptions(report.robustness.curves) if report.robustness else None,
    )


def _gate(row: DriftRow) -> Gate:
    return Gate(
        verdict=row.verdict,
        recall_loss_pt=row.recall_loss_pt,
        recall_loss_upper95_pt=row.recall_loss_upper95_pt,
        lost_positives=row.lost_positives,
        gained_positives=row.gained_positives,
        limit_pt=row.limit_pt,
        mode=row.mode,
    )


def _report(run: Run, manifest: Manifest) -> RunReport:
    """All but the sealed bundle's size and digest: its card is made from this."""
    dense, evaluations, drift, latency = read_results(run)
    names = manifest.labels.names
    films = {}
    for split in ("train", "holdout", "test"):
        counts = Counter(names[case.label] for case in getattr(run.splits, split))
        films[split] = {name: counts[name] for name in names}
    return RunReport(
        name=manifest.name,
        model=manifest.model,
        synthetic=run.source.synthetic,
        data=Path(run.source.where).name,
        films=films,
        sparsity=manifest.sparsity,
        reference=dense,
        evaluations=evaluations,
        drift=drift,
        latency=latency,
        parity={artifact.name: to_plain(artifact.parity) for artifact in manifest.artifacts},
        recommended=manifest.recommended,
        history=read_histories(run),
        recipe=to_plain(run.recipe),
        bundle_bytes=0,
        bundle_sha256="",
        cross_validation=read_folds(run),
        pruning=read_pruning(run),
        quantizing=read_quantizing(run),
        unmeasured=manifest.unmeasured,
        left_out=manifest.left_out,
    )
