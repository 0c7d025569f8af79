"""Records of a bundle's answers, and what has changed since, film by film.

szanet/record.json   digest of bundle.json; of each artifact threshold, temperature, and the instructions of the processor that scored
szanet/scores.csv    set, film, then each artifact's graph output (logit); phantoms by name, real films by the digest's first 12 digits
"""

from __future__ import annotations

import csv
import io
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from toolkit.core.bundle import Bundle
from toolkit.core.codec import Frozen, encode_json, read_json
from toolkit.core.files import write_atomically
from toolkit.core.operating import OperatingPoint
from toolkit.core.recipe import PhantomSpec
from toolkit.core.target import Precision
from toolkit.data.films import prepare_films
from toolkit.data.sources import read_source
from toolkit.data.splits import labelled_films
from toolkit.infer.machine import features, why_not
from toolkit.validate.evaluate import artifact_logits
from toolkit.validate.scores import named

HERE = Path(__file__).parent
GOLDEN = Path(__file__).parents[2] / "device_tests" / "golden" / "films"
PHANTOMS = PhantomSpec(train_patients=4, test_patients=14, seed=5)
DRAWN = 16
DIGITS = 12

Set = Literal["phantom", "real"]
Logits = dict[str, float]
"""Of one artifact, by film."""


class Limit(Frozen, frozen=True, kw_only=True):
    """How far logits may move, and how many films may change sides."""

    mean: float
    largest: float
    decisions: int


class Limits(Frozen, frozen=True, kw_only=True):
    """limits.json."""

    about: dict[str, str]
    max_bytes: int
    threshold: float
    arithmetic: dict[Precision, str]
    metric: dict[str, float]
    same: dict[str, Limit]
    other: dict[str, Limit]
    other_phantom: dict[str, Limit]


class Point(Frozen, frozen=True, kw_only=True):
    """An artifact's operating point, and the instructions of the processor on which it was scored."""

    operating: OperatingPoint
    features: tuple[str, ...]


class Head(Frozen, frozen=True, kw_only=True):
    """record.json."""

    bundle_sha256: str
    artifacts: dict[str, Point]


class Record(NamedTuple):
    """What a bundle answered: for each set of films, each artifact's logits."""

    head: Head
    scores: dict[Set, dict[str, Logits]]


class FilmSet(NamedTuple):
    """Prepared films uint8 `[N, 1, S, S]` under the keys that records know them by, and their names."""

    images: np.ndarray
    names: dict[str, str]


LIMITS = read_json(HERE / "limits.json", Limits)


def lay_out(place: Path) -> Path:
    """The drawn films as they are kept (device_tests/golden/films), in a test split: drawn anew, some of their pixels depend on the processor."""
    for label in ("NORMAL", "PNEUMONIA"):
        shutil.copytree(GOLDEN / label, place / "test" / label)
    return place


def film_set(kind: Set, folder: Path, bundle: Bundle) -> FilmSet:
    """The test films of a folder as this bundle prepares them; a film that cannot be used is missing."""
    source = read_source(folder, bundle.manifest.labels)
    cases = labelled_films(source)[: DRAWN if kind == "phantom" else None]
    films = prepare_films(source, cases, bundle.manifest.preprocessing, "read")
    first: dict[str, int] = {}
    for row, case in enumerate(films.cases):
        first.setdefault(case.name if kind == "phantom" else case.sha256[:DIGITS], row)
    return FilmSet(films.images[list(first.values())], {key: films.cases[row].name for key, row in first.items()})


def answers(bundle: Bundle, name: str, films: FilmSet) -> Logits:
    """What an artifact says of them now."""
    logits = artifact_logits(bundle, bundle.artifact(name), films.images)
    return dict(zip(films.names, map(float, logits), strict=True))


def point_of(bundle: Bundle, name: str) -> Point:
    """An artifact's operating point, on this machine."""
    return Point(operating=bundle.artifact(name).operating, features=features())


def changed_head(recorded: Head, bundle: Bundle) -> list[str]:
    """What is otherwise in bundle.json: its digest, its artifacts, their thresholds and temperatures."""
    found = []
    if recorded.bundle_sha256 != bundle.sha256:
        found.append(f"the digest of bundle.json is {bundle.sha256[:DIGITS]} and {recorded.bundle_sha256[:DIGITS]} was recorded")
    found += [f"{name} is new" for name in bundle.names if name not in recorded.artifacts]
    for name, point in recorded.artifacts.items():
        if name not in bundle.names:
            found.append(f"{name} is gone")
            continue
        now = bundle.artifact(name).operating
        for what in ("threshold", "temperature"):
            before, after = getattr(point.operating, what), getattr(now, what)
            if abs(before - after) > LIMITS.threshold:
                found.append(f"the {what} of {name} is {after:.6f} and {before:.6f} was recorded")
    return found


def limit_of(recorded: Point, precision: Precision, kind: Set) -> Limit:
    """Narrow on a processor like the one that was recorded on, wider elsewhere."""
    elsewhere = LIMITS.other_phantom if kind == "phantom" else LIMITS.other
    return (LIMITS.same if recorded.features == features() else elsewhere)[LIMITS.arithmetic[precision]]


def changed_scores(before: Logits, now: Logits, border: float, limit: Limit, names: Mapping[str, str]) -> list[str]:
    """What is otherwise in the answers of one artifact whose logits call a film positive from `border` on; films by `names`, or by key."""
    found = []

    def listed(keys: Iterable[str]) -> str:
        return named([names.get(key, key) for key in keys])

    for what, keys in (("were recorded and are missing", before.keys() - now.keys()), ("were not recorded", now.keys() - before.keys())):
        if keys:
            found.append(f"{len(keys)} films {what}: {listed(sorted(keys))}")
    both = [key for key in before if key in now]
    moved = {key: abs(now[key] - before[key]) for key in both}
    if not all(map(math.isfinite, moved.values())):
        return [*found, f"no number for {listed(key for key in both if not math.isfinite(moved[key]))}"]
    mean, largest = float(np.mean([*moved.values()] or [0.0])), max(moved.values(), default=0.0)
    if mean > limit.mean or largest > limit.largest:
        worst = sorted((key for key in both if moved[key] > limit.largest), key=lambda key: -moved[key]) or [
            max(both, key=moved.__getitem__)
        ]
        found.append(
            f"logits moved by {mean:.4f} on average and {largest:.4f} at most, {limit.mean} and {limit.largest} are allowed; "
            f"most in {listed(worst)}"
        )
    turned = [key for key in both if (now[key] >= border) != (before[key] >= border)]
    if len(turned) > limit.decisions:
        found.append(f"{len(turned)} decisions turned, {limit.decisions} are allowed: {listed(turned)}")
    return found


def changed(before: Record, now: Record, bundle: Bundle) -> list[str]:
    """All that is otherwise than it was, artifact by artifact."""
    found = changed_head(before.head, bundle)
    for kind, scores in now.scores.items():
        for name in scores.keys() & before.head.artifacts.keys():
            artifact, point = bundle.artifact(name), before.head.artifacts[name]
            border, limit = artifact.operating.logit_threshold(), limit_of(point, artifact.target.precision, kind)
            sentences = changed_scores(before.scores[kind][name], scores[name], border, limit, {})
            found += [f"{name}, {kind} films: {sentence}" for sentence in sentences]
    return found


def read(folder: Path) -> Record:
    """The record in a folder."""
    head = read_json(folder / "record.json", Head)
    rows = list(csv.DictReader(io.StringIO((folder / "scores.csv").read_text(encoding="ascii"))))
    scores: dict[Set, dict[str, Logits]] = {}
    for kind in ("phantom", "real"):
        mine = [row for row in rows if row["set"] == kind]
        scores[kind] = {name: {row["film"]: float(row[name]) for row in mine} for name in head.artifacts}
    return Record(head, scores)


def write(folder: Path, record: Record) -> None:
    """The record into a folder."""
    names = list(record.head.artifacts)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("set", "film", *names))
    for kind, scores in record.scores.items():
        for film in scores[names[0]]:
            table.writerow((kind, film, *(f"{scores[name][film]:.5f}" for name in names)))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "scores.csv", text.getvalue().encode("ascii"))
    write_atomically(folder / "record.json", encode_json(record.head))


def runs_here(bundle: Bundle) -> dict[str, str | None]:
    """Each artifact, and why it cannot be run on this machine."""
    return {artifact.name: why_not(artifact.target) for artifact in bundle.manifest.artifacts}
