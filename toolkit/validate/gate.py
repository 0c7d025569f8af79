"""A whole bundle under the gate: films are decoded once, scored by all artifacts, and never all in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.drift import DecodeDrift, DriftReport, DriftRow, Robustness
from toolkit.core.recipe import ValidateSpec
from toolkit.data.cases import Source, Truth
from toolkit.data.films import prepare_films
from toolkit.data.groups import Groups, by_look, by_name, by_table, only
from toolkit.data.splits import labelled_films
from toolkit.engine.work import Engine
from toolkit.errors import BundleError, DataError, EngineError, InputError
from toolkit.imaging.look import Look
from toolkit.infer.machine import why_not
from toolkit.infer.predictor import Predictor, choose_artifact, open_session
from toolkit.infer.runtimes import Session
from toolkit.validate import decode_drift, sealed
from toolkit.validate.drift import compare, summarise, with_checks
from toolkit.validate.robustness import PLACES, REFERENCE_CORRUPTIONS, Place, choose, corrupted_logits, film_by_film, read_corruptions
from toolkit.validate.robustness import compare as compare_corrupted
from toolkit.validate.scores import Scores, SealedScores, copies, named, read_scores
from toolkit.validate.scoring import Answers, Model, Scoring, answers, answers_on

REFERENCE = "reference"


@dataclass(frozen=True)
class Question:
    """What is asked: the gate, the bundle whose best artifact is the reference (None: the sealed scores), a table of groups with the
    columns that count (none named: all), and whether films are corrupted, or written in other forms, too."""

    spec: ValidateSpec
    against: Path | None = None
    table: Path | None = None
    columns: tuple[str, ...] = ()
    corruptions: bool = False
    decode: bool = False


def judge_bundle(bundle: Bundle, source: Source, question: Question, engine: Engine | None = None) -> DriftReport:
    """Every artifact of the bundle that runs here, on the test films of `source`; the others stand in `skipped` with the reason. `engine`:
    where films are decoded and scored; None for this process.

    Raises DataError for films that cannot be judged on, BundleError for a bundle that is not whole, InputError for a question that does
    not fit, GateError when an artifact gives no number.
    """
    chosen = _other(question.against, bundle) if question.against else None
    corrupted = _sealed_corruptions(bundle) if question.corruptions and not chosen else {}
    sessions, skipped = _sessions(bundle)
    opened = {**sessions, **({REFERENCE: open_session(*chosen, threads=1)} if chosen else {})}
    found = _answers(bundle, source, opened, chosen, engine)
    if not len(found.films):
        raise DataError(f"{source.where}: none of the {len(found.films.unusable)} films can be used; cxr-edge data check says why.")
    twice = copies(found.films)
    if chosen:
        other, artifact = chosen
        name = f"{other.manifest.name} {artifact.name}"
        known = SealedScores(Scores.of(name, found.logits[REFERENCE], artifact.operating))
        films, rows = found.films, list(range(len(found.films)))
    else:
        known, films, rows = read_scores(bundle, found.films)
    groups, notes = _groups(films, [found.looks[row] for row in rows], question)
    judged = []
    for artifact in (bundle.artifact(name) for name in sessions):
        scores = Scores.of(artifact.name, found.logits[artifact.name][rows], artifact.operating)
        judged.append(_row(artifact, scores, known, films, question.spec, groups))
    report = summarise(known.reference.name, films, tuple(judged), source.synthetic, question.spec.max_recall_loss_pt)
    robust = None
    if question.corruptions:
        robust = _robustness(Corrupted(bundle, source, films, opened, corrupted), question.spec.corruption_films, known.reference, chosen)
    other_forms = _decode(bundle, source, films, question.spec.corruption_films) if question.decode else None
    if other_forms and other_forms.verdict == "fail":
        report = msgspec.structs.replace(report, verdict="fail")
    extras = {"robustness": robust, "decode": other_forms}
    return msgspec.structs.replace(report, skipped=skipped, copies=twice, absent=known.absent, notes=notes, **extras)


def _answers(
    bundle: Bundle, source: Source, opened: Mapping[str, Session], other: tuple[Bundle, Artifact] | None, engine: Engine | None
) -> Answers:
    cases, preprocessing = labelled_films(source), bundle.manifest.preprocessing
    if engine is None:
        return answers(source, cases, preprocessing, opened)
    models = [Model(REFERENCE, *other) if other and name == REFERENCE else Model(name, bundle, bundle.artifact(name)) for name in opened]
    return answers_on(engine, source, cases, Scoring.by(tuple(models), preprocessing))


def _sessions(bundle: Bundle) -> tuple[dict[str, Session], dict[str, str]]:
    """What runs here, loaded, and why the rest does not."""
    opened: dict[str, Session] = {}
    skipped: dict[str, str] = {}
    for artifact in bundle.manifest.artifacts:
        reason = why_not(artifact.target)
        if reason is None:
            try:
                opened[artifact.name] = open_session(bundle, artifact, threads=1)
            except EngineError as cause:
                reason = str(cause).removesuffix(".")
        if reason:
            skipped[artifact.name] = reason
    return opened, skipped


def _other(path: Path, bundle: Bundle) -> tuple[Bundle, Artifact]:
    other = Bundle(path)
    if other.manifest.preprocessing != bundle.manifest.preprocessing:
        raise InputError(f"{path} prepares its films otherwise than {bundle.folder}; the same pixels cannot serve both.")
    return other, choose_artifact(other)


def _groups(films: Truth, looks: list[Look], question: Question) -> tuple[Groups, tuple[str, ...]]:
    """Groups by name, look and table, and what is to be said of the table."""
    groups = {**by_name(films.cases), **by_look(looks)}
    if question.table is None:
        return (only(groups, question.columns) if question.columns else groups), ()
    given, missing, strangers = by_table(question.table, films)
    notes = []
    if missing:
        notes.append(f"{len(missing)} film{'s have' if len(missing) > 1 else ' has'} no row in {question.table}: {named(missing)}")
    if strangers:
        notes.append(f"{len(strangers)} row{'s' if len(strangers) > 1 else ''} of {question.table} name no film: {named(strangers)}")
    return {**groups, **(only(given, question.columns) if question.columns else given)}, tuple(notes)


def _row(artifact: Artifact, scores: Scores, known: SealedScores, films: Truth, spec: ValidateSpec, groups: Groups) -> DriftRow:
    row = compare(known.reference, scores, films, spec, groups)
    return with_checks(row, sealed.check(artifact, scores, known.artifacts.get(artifact.name), films))


@dataclass(frozen=True)
class Corrupted:
    """What is judged on corrupted films, and the reference's scores of them by the film's digest, if they are sealed."""

    bundle: Bundle
    source: Source
    films: Truth
    sessions: Mapping[str, Session]
    sealed: Mapping[str, Mapping[Place, float]]


def _robustness(judged: Corrupted, count: int, reference: Scores, other: tuple[Bundle, Artifact] | None) -> Robustness:
    """On the films that the sealed scores of corrupted films know, or, with another bundle's artifact as reference, on `count` of them.

    Raises DataError when the bundle knows none of the films by them.
    """
    bundle, films, sealed = judged.bundle, judged.films, judged.sealed
    rows = choose(films, count) if other else [row for row, case in enumerate(films.cases) if case.sha256 in sealed]
    if not rows:
        raise DataError(f"{bundle.folder} knows none of the films in their corrupted forms; leave out --corruptions.")
    chosen = prepare_films(judged.source, tuple(films.cases[row] for row in rows), bundle.manifest.preprocessing, "read films")
    logits = corrupted_logits(chosen.images, chosen, {name: film_by_film(session) for name, session in judged.sessions.items()})
    points = {name: other[1].operating if other and name == REFERENCE else bundle.artifact(name).operating for name in logits}
    scores = {name: {place: Scores.of(name, logits[name][place], points[name]) for place in PLACES} for name in logits}
    known = scores.pop(REFERENCE, None) or {
        place: Scores(REFERENCE, np.array([sealed[case.sha256][place] for case in chosen.cases]), reference.threshold) for place in PLACES
    }
    return compare_corrupted(known, scores, chosen)


def _decode(bundle: Bundle, source: Source, films: Truth, count: int) -> DecodeDrift:
    """`count` of the films in other forms, by the artifact that `predict` takes here."""
    names = [films.cases[row].name for row in choose(films, count)]
    return decode_drift.measure(Predictor(bundle), {name: source.raw(name) for name in names})


def _sealed_corruptions(bundle: Bundle) -> dict[str, dict[Place, float]]:
    file = bundle.verified(REFERENCE_CORRUPTIONS)
    if file is None:
        raise BundleError(f"{bundle.folder} carries no scores of corrupted films; judge it --against another bundle, or seal it again.")
    return read_corruptions(file.read_text(encoding="ascii"), str(file))
