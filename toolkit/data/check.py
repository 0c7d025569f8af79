"""A hygiene report of a data set: what would spoil training or a judgement, found before it does."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from toolkit.core.codec import Frozen
from toolkit.core.labels import Labels
from toolkit.core.preprocessing import Preprocessing
from toolkit.data.cases import Case, Source
from toolkit.data.duplicates import duplicate_groups
from toolkit.data.films import prepare_films


class DataReport(Frozen, frozen=True, kw_only=True):
    """Counts by split, and findings by name. `leaks` are patients or exact copies that stand in more than one of train and test."""

    where: str
    synthetic: bool
    films: Mapping[str, Mapping[str, int]]
    patients: Mapping[str, Mapping[str, int]]
    without_patient: int
    duplicates: tuple[tuple[str, ...], ...]
    contradictions: tuple[tuple[str, ...], ...]
    leaks: Mapping[str, tuple[str, ...]]
    unusable: Mapping[str, str]
    ignored: tuple[str, ...]
    sha256: str


def check(source: Source, labels: Labels | None = None) -> DataReport:
    """Decode every film and look for copies, leaks, contradictions and files that cannot be used."""
    names = (labels or Labels()).names
    films: dict[str, Counter[str]] = defaultdict(Counter)
    patients: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for case in source.cases:
        films[case.split][names[case.label]] += 1
        patients[case.split][case.group].add(case.patient)
    groups = duplicate_groups(source.cases)
    return DataReport(
        where=source.where,
        synthetic=source.synthetic,
        films={split: dict(counts) for split, counts in films.items()},
        patients={split: {group: len(keys) for group, keys in found.items()} for split, found in patients.items()},
        without_patient=sum(case.group == "unknown" for case in source.cases),
        duplicates=tuple(tuple(case.name for case in group) for group in groups),
        contradictions=tuple(tuple(case.name for case in group) for group in groups if len({case.label for case in group}) > 1),
        leaks=_leaks(source.cases),
        unusable=dict(prepare_films(source, source.cases, Preprocessing(size_px=32), "decode").unusable),
        ignored=source.ignored,
        sha256=source.sha256(),
    )


def _leaks(cases: tuple[Case, ...]) -> Mapping[str, tuple[str, ...]]:
    """Names of the films of each patient, and of each exact copy, that stands in test and also in train or val."""
    found: dict[str, tuple[str, ...]] = {}
    for key in ("patient", "sha256"):
        together: dict[str, list[Case]] = defaultdict(list)
        for case in cases:
            together[getattr(case, key)].append(case)
        for value, members in together.items():
            sides = {case.split == "test" for case in members}
            if len(sides) > 1:
                found[f"patient {value}" if key == "patient" else f"copy {value[:12]}"] = tuple(case.name for case in members)
    return found
