"""What int8 answers where this processor's sums of bytes overflow, and what it answers there as it is written, against the sealed answers.

    python -m benchmarks.overflow BUNDLE ... CHEST_XRAY

Run it on an x86 without VNNI (`cxr-edge doctor` says which one this is), of bundles that were sealed on one with VNNI. Each int8 artifact
scores the official test films with the runtime's int8 kernels and as `predict` does here. Prints, and keeps in docs/results/overflow.json.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.benchmark.host import describe_host
from toolkit.cli.options import table
from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.codec import Frozen, encode_json
from toolkit.core.files import write_atomically
from toolkit.data.films import prepare_films
from toolkit.data.sources import read_source
from toolkit.data.splits import labelled_films
from toolkit.infer.machine import adds_bytes_exactly
from toolkit.infer.runtimes import runtime
from toolkit.validate.evaluate import session_logits
from toolkit.validate.scores import Scores, read_scores

OUT = Path(__file__).parent.parent / "docs" / "results" / "overflow.json"
HEAD = ("bundle", "artifact", "calculated", "mean probability moved by", "at most", "decisions turned", "pneumonias lost", "gained")


class Row(Frozen, frozen=True, kw_only=True):
    """One artifact in one arithmetic, against its sealed answers; `exact`: in single precision, as the graph is written."""

    bundle: str
    artifact: str
    exact: bool
    mean: float
    largest: float
    turned: int
    lost: int
    gained: int


class Table(Frozen, frozen=True, kw_only=True):
    """All of them, on the official test films."""

    processor: str
    films: int
    rows: tuple[Row, ...]


def of_bundle(folder: Path, data: Path) -> tuple[list[Row], int]:
    """The rows of a bundle, and how many films were asked."""
    bundle = Bundle(folder)
    source = read_source(data, bundle.manifest.labels)
    films = prepare_films(source, labelled_films(source), bundle.manifest.preprocessing, "read")
    known, truth, kept = read_scores(bundle, films)
    rows = []
    for artifact in bundle.manifest.artifacts:
        if artifact.target.is_int8 and not adds_bytes_exactly(artifact.target):
            for exact in (False, True):
                target = artifact.target if exact else None
                session = runtime(artifact.target.backend).load(bundle.paths(artifact), target=target)
                logits = session_logits(session, films.images, artifact.name)[kept]
                rows.append(_row(bundle, artifact, exact, (known.artifacts[artifact.name], logits), truth.labels))
    return rows, len(kept)


def _row(
    bundle: Bundle, artifact: Artifact, exact: bool, answers: tuple[NDArray[np.float64], NDArray[np.float32]], labels: NDArray[np.int64]
) -> Row:
    sealed, threshold = answers[0], artifact.operating.threshold
    found = Scores.of(artifact.name, answers[1], artifact.operating).probability
    before, now, moved = sealed >= threshold, found >= threshold, np.abs(found - sealed)
    return Row(
        bundle=bundle.folder.name,
        artifact=artifact.name,
        exact=exact,
        mean=float(moved.mean()),
        largest=float(moved.max()),
        turned=int((before != now).sum()),
        lost=int((before & ~now & (labels == 1)).sum()),
        gained=int((~before & now & (labels == 1)).sum()),
    )


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table, under HEAD."""
    how = "as it is written" if row.exact else "by int8 kernels"
    return (row.bundle, row.artifact, how, f"{row.mean:.4f}", f"{row.largest:.4f}", str(row.turned), str(row.lost), str(row.gained))


def main() -> None:
    """What the command line says."""
    *folders, data = map(Path, sys.argv[1:])
    rows: list[Row] = []
    count = 0
    for folder in folders:
        found, count = of_bundle(folder, data)
        rows += found
    if not rows:
        sys.exit("Error: this processor adds bytes exactly, so nothing overflows here; run this on an x86 without VNNI.")
    write_atomically(OUT, encode_json(Table(processor=describe_host().processor, films=count, rows=tuple(rows))))
    print(table(HEAD, [cells(row) for row in rows]))


if __name__ == "__main__":
    main()
