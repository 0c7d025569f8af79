"""A folder of films through `predict`: how fast beside a plain loop, and beside decoding alone, and are the decisions the same?

    python -m benchmarks.throughput BUNDLE FILMS

FILMS holds full-size films; they are linked again and again to make COUNT files. Each of ROUNDS rounds gives all ways a turn, and medians
count: the plain loop (Pillow decodes the whole film and resizes it, the session is called, one thread), decoding and preparing alone on all
cores, and `Predictor.judge` as the command runs it, a worker a core and one thread for the model. Twice: as the bundle declares its
decoding, and with JPEG decoded at reduced scale, as `preprocessing.decode: reduced` in a recipe would declare it. Decisions are compared
with those of films that are judged one by one. Prints, and keeps in docs/results/throughput.json; exit code 1 when a limit does not hold.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from PIL import Image

from toolkit.benchmark.host import describe_host
from toolkit.cli.options import table
from toolkit.core.bundle import Bundle, write_manifest
from toolkit.core.codec import Frozen, encode_json
from toolkit.core.files import write_atomically
from toolkit.errors import CxrEdgeError
from toolkit.infer.predictor import Predictor
from toolkit.infer.stream import ahead

OUT = Path(__file__).parent.parent / "docs" / "results" / "throughput.json"
COUNT, ROUNDS = 1000, 3
TIMES_FASTER, OF_DECODING = 3.0, 0.8  # what is asked of the reduced and of both ways
HEAD = (
    "JPEG decoding",
    "plain loop",
    "decoding alone, all cores",
    "predict",
    "times the plain loop",
    "of decoding alone",
    "other decisions",
)


class Row(Frozen, frozen=True, kw_only=True):
    """Films per second; `other_decisions`: of COUNT films, against one by one."""

    decode: str
    plain: float
    decoding: float
    predict: float
    other_decisions: int


class Throughput(Frozen, frozen=True, kw_only=True):
    """One artifact on one machine."""

    bundle: str
    artifact: str
    processor: str
    cores: int
    films: int
    rows: tuple[Row, ...]


def measure(predictor: Predictor, files: list[Path]) -> Row:
    """All ways in turns."""
    one_by_one = [found.decision for found in predictor.predict(files)]
    decisions: list[str] = []

    def predict() -> None:
        decisions[:] = [judged.prediction.decision for judged in predictor.judge(files, None)]

    ways: dict[str, Callable[[], object]] = {
        "plain": lambda: plain_loop(predictor, files),
        "decoding": lambda: sum(1 for _ in ahead(files, lambda path: predictor.prepare(path.read_bytes()))),
        "predict": predict,
    }
    rates = {name: float(np.median(found)) for name, found in _in_turns(ways, len(files)).items()}
    other = sum(one != two for one, two in zip(one_by_one, decisions, strict=True))
    return Row(decode=predictor.preprocessing.decode, other_decisions=other, **rates)


def plain_loop(predictor: Predictor, files: list[Path]) -> int:
    """What one would write without this package; how many films it called positive."""
    size = (predictor.preprocessing.size_px,) * 2
    positive = 0
    for path in files:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L").resize(size, Image.Resampling.BILINEAR))
        logit = predictor.session.logits(pixels[None, None])
        positive += bool(predictor.artifact.operating.probability(logit)[0] >= predictor.artifact.operating.threshold)
    return positive


def _in_turns(ways: dict[str, Callable[[], object]], films: int) -> dict[str, list[float]]:
    """Films per second of each way in each round."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            found[name].append(films / (time.perf_counter() - started))
    return found


def with_decoding(bundle: Bundle, decode: str, folder: Path) -> Bundle:
    """The same bundle, declaring another decoding, in `folder`."""
    changed = msgspec.structs.replace(bundle.manifest.preprocessing, decode=decode)
    for file in bundle.manifest.all_files():
        shutil.copyfile(bundle.folder / file.path, folder / file.path)
    write_manifest(folder, msgspec.structs.replace(bundle.manifest, preprocessing=changed))
    return Bundle(folder)


def linked(films: Path, folder: Path) -> list[Path]:
    """COUNT files that are the films again and again."""
    sources = sorted(path.resolve() for path in films.rglob("*.jp*g"))
    if not sources:
        sys.exit(f"No JPEG below {films}; give a folder of full-size films.")
    files = [folder / f"{number:04d}.jpeg" for number in range(COUNT)]
    for number, file in enumerate(files):
        file.symlink_to(sources[number % len(sources)])
    return files


def cells(row: Row) -> tuple[str, ...]:
    """A row for people."""
    shares = (f"{row.predict / row.plain:.2f}", f"{row.predict / row.decoding:.2f}")
    return (row.decode, *(f"{rate:.0f}" for rate in (row.plain, row.decoding, row.predict)), *shares, str(row.other_decisions))


def problems(rows: tuple[Row, ...]) -> list[str]:
    """What does not hold."""
    said = [f"{row.decode}: {row.other_decisions} decisions differ from one by one" for row in rows if row.other_decisions]
    said += [
        f"{row.decode}: predict reaches less than {OF_DECODING} of decoding" for row in rows if row.predict < OF_DECODING * row.decoding
    ]
    slow = [row for row in rows if row.decode == "reduced" and row.predict < TIMES_FASTER * row.plain]
    return said + [f"reduced: predict is {row.predict / row.plain:.2f} times as fast as the plain loop" for row in slow]


def main() -> None:
    """Measure, print, keep."""
    bundle, kinds = Bundle(Path(sys.argv[1])), ("full", "reduced")
    rows = []
    try:
        with TemporaryDirectory() as place:
            (folder := Path(place) / "films").mkdir()
            files = linked(Path(sys.argv[2]), folder)
            for decode in kinds:
                (changed := Path(place) / decode).mkdir()
                predictor = Predictor(with_decoding(bundle, decode, changed), threads=1)
                rows.append(measure(predictor, files))
    except CxrEdgeError as error:
        sys.exit(f"Error: {error}")
    found = Throughput(
        bundle=bundle.manifest.name,
        artifact=predictor.artifact.name,
        processor=describe_host().processor,
        cores=os.cpu_count() or 1,
        films=COUNT,
        rows=tuple(rows),
    )
    write_atomically(OUT, encode_json(found))
    print(table(HEAD, map(cells, found.rows)))
    if failed := problems(found.rows):
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
