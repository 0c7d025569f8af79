"""Who is on a film, read from its file name as Kermany et al. number them."""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

FORMS = (
    re.compile(r"person(?P<number>\d+)_(?P<group>bacteria|virus)_"),  # the Kaggle copy
    re.compile(r"(?P<group>NORMAL2-IM|IM)-(?P<number>\d+)-"),
    re.compile(r"(?P<group>BACTERIA|VIRUS|NORMAL)-(?P<number>\d+)-"),  # Mendeley Data, version 3
)


class Patient(NamedTuple):
    """`key` names one child; `group` is the list that numbers it: bacteria, virus, IM, NORMAL2-IM, NORMAL or unknown."""

    key: str
    group: str


def patient_of(name: str) -> Patient:
    """The patient of a file name such as 'person12_virus_48.jpeg' or 'NORMAL2-IM-0095-0001.jpeg', folders before it or not.

    The lists are numbered apart (bacteria 12 and virus 12 are two children), so the key holds list and number.
    A name of another form is a patient of its own, in the group 'unknown'.
    """
    found = next((match for form in FORMS if (match := form.match(name.rpartition("/")[2]))), None)
    if found is None:
        return Patient(f"unknown/{name}", "unknown")
    group = found["group"].lower() if found["group"] in ("BACTERIA", "VIRUS") else found["group"]
    return Patient(f"{group}/{int(found['number'])}", group)


def patient_number(key: str) -> tuple[int, str]:
    """Sorts the patients of one list by their number; those without one come last, by name."""
    text = key.rpartition("/")[2]
    return (int(text), key) if text.isdigit() else (sys.maxsize, key)
