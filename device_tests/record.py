"""Golden answers: what a bundle said of the films in golden/films where it was recorded.

python -m device_tests.record exported/szanet              writes golden/szanet.json
python -m device_tests.record RUN/bundle --to FOLDER       writes FOLDER/RUN.json, for pytest's --golden FOLDER

The films are phantoms, drawn once and kept as files: another processor's mathematics draws some pixels otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.codec import Frozen, encode_json, parse_json, read_json
from toolkit.core.files import sha256_of, sha256_of_bytes, write_atomically
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.target import VNNI
from toolkit.errors import InputError
from toolkit.imaging.decode import SUFFIXES, Pixels
from toolkit.imaging.prepare import prepare_file, prepare_raw
from toolkit.infer.machine import family, features, why_not
from toolkit.infer.predictor import open_session
from toolkit.infer.runtimes import Session

HERE = Path(__file__).parent / "golden"
FILMS = HERE / "films"
LIMITS = Path(__file__).parent.parent / "tests" / "regression" / "limits.json"
DRAWN = ((224, 224), (500, 400), (1200, 1600), (90, 120))
"""Heights and widths: as the network takes it, reduced, reduced by much, enlarged."""


class Limit(Frozen, frozen=True, kw_only=True):
    """How far logits may lie from the recorded ones: mean over the films, and largest."""

    mean: float
    largest: float


class Film(Frozen, frozen=True, kw_only=True):
    """A picture file: its digest, and that of its prepared pixels."""

    name: str
    sha256: str
    pixels_sha256: str


class Answers(Frozen, frozen=True, kw_only=True):
    """An artifact's logits in the order of the films, and its limits on a processor like the recorded one and on another."""

    logits: tuple[float, ...]
    same: Limit
    other: Limit


class Golden(Frozen, frozen=True, kw_only=True):
    """All that was recorded of a bundle. `drawn`: digests of prepared pictures that are computed, not decoded, by 'height x width'."""

    bundle_sha256: str
    features: tuple[str, ...]
    drawn: dict[str, str]
    films: tuple[Film, ...]
    artifacts: dict[str, Answers]


class Moved(NamedTuple):
    """How far an artifact's answers lie from the golden ones, and the films whose decision turned."""

    mean: float
    largest: float
    worst: str
    turned: tuple[str, ...]


def called(bundle: Bundle) -> str:
    """What a bundle is called here: its folder's name, or that of its run."""
    folder = bundle.folder.resolve()
    return folder.parent.name if folder.name == "bundle" else folder.name


def drawn(height: int, width: int) -> Pixels:
    """A picture of whole-number arithmetic, the same on every processor: uint8 `[height, width]`."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    return np.asarray((3 * y * y + 5 * x * x + 7 * x * y) // 97 % 256, np.uint8)


def drawn_digests(preprocessing: Preprocessing) -> dict[str, str]:
    """Digests of the drawn pictures as this preprocessing prepares them."""
    pictures = {f"{height} x {width}": prepare_raw(drawn(height, width), preprocessing) for height, width in DRAWN}
    return {name: digest(pixels) for name, pixels in pictures.items()}


def digest(pixels: Pixels) -> str:
    """Of the bytes in C order."""
    return sha256_of_bytes(np.ascontiguousarray(pixels).tobytes())


def film_files(folder: Path = FILMS) -> list[Path]:
    """The golden films in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def name_of(path: Path) -> str:
    """A golden film's name: its path below the folder of films."""
    return path.relative_to(FILMS).as_posix()


def prepared(preprocessing: Preprocessing) -> dict[str, Pixels]:
    """The golden films, decoded and prepared as the clinic does, uint8 `[S, S]` each."""
    return {name_of(path): prepare_file(path, preprocessing) for path in film_files()}


def logits_of(session: Session, films: Sequence[Pixels]) -> NDArray[np.float32]:
    """One film after another, as `predict` asks: float32 `[N]`."""
    return np.concatenate([session.logits(pixels[None, None]) for pixels in films])


def moved(bundle: Bundle, name: str, golden: Golden, found: NDArray[np.float32]) -> Moved:
    """Compare an artifact's logits with the golden ones."""
    border = bundle.artifact(name).operating.logit_threshold()
    before, names = np.array(golden.artifacts[name].logits), [film.name for film in golden.films]
    distance = np.abs(found - before)
    turned = [
        f"{film} ({was:.4f} before, {now:.4f} now, positive from {border:.4f})"
        for film, was, now in zip(names, before, found, strict=True)
        if (was >= border) != (now >= border)
    ]
    return Moved(float(distance.mean()), float(distance.max()), names[int(distance.argmax())], tuple(turned))


def limit(golden: Golden, name: str) -> Limit:
    """Narrow on a processor with the instructions of the one that was recorded on, and between ARM64 and x86 with VNNI, which both add
    products of bytes in 32 bits; wider elsewhere."""
    answers, exact = golden.artifacts[name], family() == "arm64" and bool(VNNI & set(golden.features))
    return answers.same if exact or golden.features == features() else answers.other


def read(folder: Path, bundle: Bundle) -> Golden | None:
    """What was recorded of this bundle, by its digest; None when nothing was. Raises InputError for a file that is none."""
    records = (read_json(path, Golden) for path in sorted(folder.glob("*.json")))
    return next((record for record in records if record.bundle_sha256 == bundle.sha256), None)


def record(bundle: Bundle) -> Golden:
    """Let every artifact that runs here score the golden films."""
    films = prepared(bundle.manifest.preprocessing)
    return Golden(
        bundle_sha256=bundle.sha256,
        features=features(),
        drawn=drawn_digests(bundle.manifest.preprocessing),
        films=tuple(Film(name=name, sha256=sha256_of(FILMS / name), pixels_sha256=digest(pixels)) for name, pixels in films.items()),
        artifacts={
            artifact.name: _answers(bundle, artifact, list(films.values()))
            for artifact in bundle.manifest.artifacts
            if why_not(artifact.target) is None
        },
    )


def _answers(bundle: Bundle, artifact: Artifact, films: Sequence[Pixels]) -> Answers:
    found = logits_of(open_session(bundle, artifact), films)
    limits = parse_json(LIMITS.read_bytes(), str(LIMITS), InputError)
    kind = limits["arithmetic"][artifact.target.precision]
    same, other = ({key: limits[where][kind][key] for key in ("mean", "largest")} for where in ("same", "other_phantom"))
    return Answers(logits=tuple(round(float(logit), 6) for logit in found), same=Limit(**same), other=Limit(**other))


@click.command()
@click.argument("folder", metavar="BUNDLE", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--to", "target", type=click.Path(path_type=Path), default=HERE, help="Where the record is written  [default: golden/].")
def main(folder: Path, target: Path) -> None:
    """Record what BUNDLE answers now; the limits are those of tests/regression."""
    bundle = Bundle(folder)
    bundle.verify()
    path = target / f"{called(bundle)}.json"
    found = record(bundle)
    write_atomically(path, encode_json(found))
    click.echo(f"{path}: {len(found.films)} films, {', '.join(found.artifacts)}")


if __name__ == "__main__":
    main()
