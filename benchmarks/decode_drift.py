"""Does a film get the same score in whatever form it reaches the clinic? And does a full-size film score like its small twin?

    python -m benchmarks.decode_drift BUNDLE FULLSIZE TWINS [ARTIFACT ...]

FULLSIZE and TWINS hold NORMAL/ and PNEUMONIA/ somewhere below them, with the same file names. Every full-size film is written as PNG, JPEG,
16-bit grey and DICOM, decoded, prepared and scored, against the film as it came; then as it came against its twin. ARTIFACT: those of the
bundle, by default the one that it recommends here. Prints, and keeps in docs/results/decode_drift.json. Exit code 1 when a limit of
toolkit/validate/decode_drift.py does not hold.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from toolkit.cli.options import table
from toolkit.core.bundle import Bundle
from toolkit.core.codec import Frozen, encode_json
from toolkit.core.drift import DecodeDrift, FormDrift
from toolkit.core.files import write_atomically
from toolkit.errors import CxrEdgeError, DataError
from toolkit.imaging.decode import Pixels
from toolkit.imaging.prepare import prepare_raw
from toolkit.infer.predictor import Predictor
from toolkit.validate.decode_drift import TWINS, compare, measure

OUT = Path(__file__).parent.parent / "docs" / "results" / "decode_drift.json"
HEAD = ("form", "identical", "mean logit", "largest", "limits", "mean probability", "largest", "calls changed", "verdict")


class Row(Frozen, frozen=True, kw_only=True):
    """One artifact: the forms of the full-size films, and the films against their twins."""

    forms: DecodeDrift
    twins: FormDrift


class Table(Frozen, frozen=True, kw_only=True):
    """One bundle; `films` were given and have a twin each."""

    bundle: str
    films: int
    rows: tuple[Row, ...]


def pairs(full: Path, small: Path) -> dict[str, tuple[bytes, bytes]]:
    """By CLASS/NAME the bytes of a full-size film and of its twin; raises DataError for a film that has none, or several."""
    twins: dict[str, list[Path]] = {}
    for path in small.rglob("*.jpeg"):
        twins.setdefault(f"{path.parent.name}/{path.name}", []).append(path)
    found = {}
    for path in sorted(full.rglob("*.jpeg")):
        name = f"{path.parent.name}/{path.name}"
        if len(twins.get(name, ())) != 1:
            raise DataError(f"{name} has {len(twins.get(name, ()))} twins below {small}; expected one.")
        found[name] = (path.read_bytes(), twins[name][0].read_bytes())
    return found


def against_twins(predictor: Predictor, films: dict[str, tuple[bytes, bytes]]) -> FormDrift:
    """The twin is the film as the network learnt it, the full-size film what a clinic has."""

    def prepared(which: int) -> Pixels:
        return np.stack([prepare_raw(pair[which], predictor.preprocessing)[None] for pair in films.values()])

    logits = predictor.session.logits(prepared(1)), predictor.session.logits(prepared(0))
    return compare("full size against twin", tuple(films), logits, predictor.artifact.operating, TWINS)


def cells(row: FormDrift) -> tuple[str, ...]:
    """A row of the table, under HEAD."""
    return (
        row.form,
        "-" if row.identical is None else f"{row.identical} of {row.films}",
        *(f"{row.mean_logit:.3f}", f"{row.largest_logit:.3f}", f"{row.limit_mean_logit:g}, {row.limit_largest_logit:g}"),
        *(f"{row.mean_probability:.4f}", f"{row.largest_probability:.4f}"),
        ", ".join(row.changed) or "none",
        f"{row.verdict}: {row.reason}" if row.reason else row.verdict,
    )


def main() -> None:
    """What the command line says."""
    folder, full, small, *names = sys.argv[1:]
    rows = []
    try:
        bundle, films = Bundle(Path(folder)), pairs(Path(full), Path(small))
        for name in names or [None]:
            predictor = Predictor(bundle, name)
            forms = measure(predictor, {film: raw for film, (raw, _) in films.items()})
            rows.append(Row(forms=forms, twins=against_twins(predictor, films)))
    except CxrEdgeError as error:
        sys.exit(f"Error: {error}")
    write_atomically(OUT, encode_json(Table(bundle=bundle.manifest.name, films=len(films), rows=tuple(rows))))
    for row in rows:
        print(f"{bundle.manifest.name}, {row.forms.artifact}, {len(films)} films")
        print(table(HEAD, [cells(one) for one in (*row.forms.rows, row.twins)]), "\n")
    sys.exit(any(one.verdict == "fail" for row in rows for one in (*row.forms.rows, row.twins)))


if __name__ == "__main__":
    main()
