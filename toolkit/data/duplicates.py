"""Exact duplicates, and the families of patients that they tie together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from toolkit.data.cases import Case


def duplicate_groups(cases: Iterable[Case]) -> list[tuple[Case, ...]]:
    """Groups of two or more films with the same bytes."""
    by_content: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_content[case.sha256].append(case)
    return [tuple(group) for group in by_content.values() if len(group) > 1]


def patient_families(cases: tuple[Case, ...]) -> dict[str, str]:
    """Each patient's family: the first (by name) of the patients that share a film with it, directly or through others."""
    parent = {case.patient: case.patient for case in cases}

    def root(patient: str) -> str:
        while parent[patient] != patient:
            patient = parent[patient]
        return patient

    for group in duplicate_groups(cases):
        roots = sorted({root(case.patient) for case in group})
        for other in roots[1:]:
            parent[other] = roots[0]
    return {patient: root(patient) for patient in parent}
