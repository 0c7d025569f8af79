"""Who is on a film, read from its file name as Kermany et al. number them."""

from __future__ import annotations

import re
from typing import NamedTuple

PNEUMONIA = re.compile(r"person(?P<number>\d+)_(?P<kind>bacteria|virus)_")
NORMAL = re.compile(r"(?P<batch>NORMAL2-)?IM-(?P<number>\d+)-")


class Patient(NamedTuple):
    """`key` names one child; `group` is the list that numbers it: bacteria, virus, IM, NORMAL2-IM or unknown."""

    key: str
    group: str


def patient_of(file_name: str) -> Patient:
    """The patient of a file name such as 'person12_virus_48.jpeg' or 'NORMAL2-IM-0095-0001.jpeg'.

    The lists are numbered apart (bacteria 12 and virus 12 are two children), so the key holds list and number.
    A name of another form is a patient of its own, in the group 'unknown'.
    """
    if found := PNEUMONIA.match(file_name):
        group = found["kind"]
    elif found := NORMAL.match(file_name):
        group = f"{found['batch'] or ''}IM"
    else:
        return Patient(f"unknown/{file_name}", "unknown")
    return Patient(f"{group}/{int(found['number'])}", group)
