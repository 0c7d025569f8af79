"""Probabilities of models on films, and the file in which a bundle carries those that it was sealed with.

reference_scores.csv   sha256, label, score (the dense model), then a column for each artifact that was measured
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from toolkit.core.bundle import REFERENCE_SCORES, Bundle
from toolkit.core.operating import OperatingPoint
from toolkit.data.cases import Labelled, Truth
from toolkit.errors import BundleError, DataError, GateError

Probabilities = NDArray[np.float64]
KEYS = ("sha256", "label", "score")
NAMED = 5  # films that a sentence names


@dataclass(frozen=True)
class Scores:
    """Probabilities float64 `[N]` of one model on the films, and the threshold that it is used at."""

    name: str
    probability: Probabilities
    threshold: float

    @classmethod
    def of(cls, name: str, logits: NDArray[np.float32], point: OperatingPoint) -> Scores:
        """From the graph's output."""
        return cls(name, point.probability(logits), point.threshold)

    def as_written(self) -> Scores:
        """Rounded as `reference_scores.csv` states them, so that a judgement can be repeated from the file."""
        return Scores(self.name, np.array([float(_written(value)) for value in self.probability]), self.threshold)

    @property
    def called(self) -> NDArray[np.bool_]:
        """True where the film is called positive."""
        return self.probability >= self.threshold

    def refuse_gaps(self, films: Labelled) -> None:
        """Raise GateError when a film has no number, DataError when there are fewer or more than films."""
        if len(self.probability) != len(films.cases):
            raise DataError(f"{self.name} has {len(self.probability)} scores for {len(films.cases)} films; score these films again.")
        gaps = np.flatnonzero(~np.isfinite(self.probability))
        if len(gaps):
            listed = named([films.cases[row].name for row in gaps.tolist()])
            raise GateError(f"{self.name} gives no number for {len(gaps)} of {len(films.cases)} films ({listed}); export it again.")


@dataclass(frozen=True)
class SealedScores:
    """What a bundle knows of the films at hand: the reference, each artifact's probabilities `[N]` as they were sealed, and how many of the
    films that it was sealed with are not at hand."""

    reference: Scores
    artifacts: Mapping[str, Probabilities] = field(default_factory=dict)
    absent: int = 0


def write_scores(films: Labelled, reference: Scores, artifacts: Sequence[Scores] = ()) -> str:
    """`reference_scores.csv`: whoever holds the films can check drift without the dense model, and whether artifacts answer as they did."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow((*KEYS, *(scores.name for scores in artifacts)))
    for row, case in enumerate(films.cases):
        others = (f"{scores.probability[row]:.6f}" for scores in artifacts)
        table.writerow((case.sha256, case.label, _written(reference.probability[row]), *others))
    return text.getvalue()


def read_scores(bundle: Bundle, films: Labelled) -> tuple[SealedScores, Truth, list[int]]:
    """The sealed scores on those of the films that the bundle knows, by content; which rows of `films` these are. The others are listed as
    unusable.

    Raises BundleError when the bundle carries no reference or the file is damaged, DataError when it knows none of the films or knows
    one by another label.
    """
    reference = bundle.manifest.reference
    file = bundle.verified(REFERENCE_SCORES)
    if reference is None or file is None:
        raise BundleError(f"{bundle.folder} carries no reference scores; judge it --against another bundle, or run compress.")
    names, known = parse_scores(file.read_text(encoding="ascii"), str(file))
    rows = [row for row, case in enumerate(films.cases) if case.sha256 in known]
    if not rows:
        raise DataError(
            f"None of the {len(films.cases)} films is among the {len(known)} that {bundle.folder} has reference scores of; "
            "give the folder of films that it was sealed with, or compare --against another bundle."
        )
    kept = tuple(films.cases[row] for row in rows)
    found = [known[case.sha256] for case in kept]
    _refuse_swapped(films, rows, [label for label, _ in found], bundle)
    table = np.array([values for _, values in found])  # [N, 1 + artifacts]
    strangers = tuple((case.name, "is not among the reference films") for case in films.cases if case.sha256 not in known)
    sealed = SealedScores(
        Scores(reference.model, table[:, 0], reference.operating.threshold),
        {name: table[:, 1 + column] for column, name in enumerate(names)},
        len(known.keys() - {case.sha256 for case in kept}),
    )
    return sealed, Truth(kept, films.unusable + strangers), rows


def copies(films: Labelled) -> dict[str, str]:
    """Names of films whose content stood before already, and of which; raises DataError when the two have different labels."""
    first: dict[str, tuple[str, int]] = {}
    found = {}
    for case in films.cases:
        name, label = first.setdefault(case.sha256, (case.name, case.label))
        if label != case.label:
            raise DataError(f"{name} and {case.name} are the same film under two labels; remove the wrong one.")
        if name != case.name:
            found[case.name] = name
    return found


def named(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _written(probability: float) -> str:
    return f"{probability:.9f}"


def parse_scores(text: str, where: str, keys: tuple[str, ...] = KEYS) -> tuple[tuple[str, ...], dict[str, tuple[int, list[float]]]]:
    """Names of the columns behind `keys`, and by digest the label and all probabilities from the third column on.

    Raises BundleError when the file begins otherwise, or a row has no label or something else than probabilities.
    """
    rows = csv.reader(io.StringIO(text))
    head = tuple(next(rows, ()))
    if head[: len(keys)] != keys:
        raise BundleError(f"{where} begins with the columns {', '.join(head[:3])}; expected {', '.join(keys)}. Copy the bundle again.")
    known = {}
    for row in rows:
        try:
            values = [float(cell) for cell in row[2:]]
            good = len(row) == len(head) and all(0 <= value <= 1 for value in values) and row[1] in ("0", "1")
        except ValueError:
            good = False
        if not good:
            raise BundleError(f"{where} has no label and probabilities for {row[0][:12] if row else 'a film'}; copy the bundle again.")
        known[row[0]] = (int(row[1]), values)
    return head[len(keys) :], known


def _refuse_swapped(films: Labelled, rows: list[int], labels: list[int], bundle: Bundle) -> None:
    others = [films.cases[row].name for row, label in zip(rows, labels, strict=True) if films.cases[row].label != label]
    if others:
        raise DataError(
            f"{len(others)} of {len(rows)} films have another label than {bundle.folder} was sealed with ({named(others)}); "
            "put them into the right class folders."
        )
