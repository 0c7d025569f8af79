"""The folder that is all a clinic needs: manifest, model files, model card, reference scores. Sealed whole, verified before use."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated

from msgspec import Meta

from toolkit.core.artifacts import FileEntry, Provenance
from toolkit.core.codec import Frozen, decode, encode_json, parse_json
from toolkit.core.evaluation import Evaluation, Mode, Verdict
from toolkit.core.files import sha256_of, sha256_of_bytes, write_atomically
from toolkit.core.labels import Labels
from toolkit.core.operating import OperatingPoint
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.target import Family, Target
from toolkit.errors import BundleError, GateError, InputError

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"
CARD = "README.md"
TEACHES = "onnxruntime-fp32"  # the artifact that another network learns from
REFERENCE_SCORES = "reference_scores.csv"
MAX_MANIFEST_BYTES = 4_000_000
IR_SUFFIX, IR_WEIGHTS_SUFFIX = ".xml", ".bin"


class Parity(Frozen, frozen=True, kw_only=True):
    """How far an artifact departs from the torch network that it was made from, on held-out films."""

    films: int
    max_logit_error: float
    mean_logit_error: float
    sign_flips: int


class Gate(Frozen, frozen=True, kw_only=True):
    """The drift verdict that an artifact was sealed with."""

    verdict: Verdict
    recall_loss_pt: float | None
    recall_loss_upper95_pt: float | None
    lost_positives: int
    gained_positives: int
    limit_pt: float
    mode: Mode


class Artifact(Frozen, frozen=True, kw_only=True):
    """One model in one form; `files[0]` is the one to load. Nulls mean: not measured yet."""

    name: str
    target: Target
    files: Annotated[tuple[FileEntry, ...], Meta(min_length=1)]
    requires: str
    operating: OperatingPoint
    parity: Parity
    metrics: Evaluation | None = None
    drift: Gate | None = None
    p50_ms: float | None = None

    def __post_init__(self) -> None:
        """An OpenVINO graph takes its weights from the file of its own name: that one must have a digest too."""
        paths = [file.path for file in self.files]
        if paths[0].endswith(IR_SUFFIX) and paths[0].removesuffix(IR_SUFFIX) + IR_WEIGHTS_SUFFIX not in paths:
            raise ValueError(f"the artifact {self.name} does not list the weights of {paths[0]}")

    @property
    def bytes(self) -> int:
        """Size of its files on disk."""
        return sum(file.bytes for file in self.files)

    @property
    def passed(self) -> bool:
        """True when its recall gate was run and held."""
        return self.drift is not None and self.drift.verdict == "pass"


class Reference(Frozen, frozen=True, kw_only=True):
    """The dense network that artifacts are held against; its scores lie in `reference_scores.csv`."""

    model: str
    operating: OperatingPoint
    weights_sha256: str
    films: int
    metrics: Evaluation


class ScreenLimits(Frozen, frozen=True, kw_only=True):
    """From where on a picture is refused, as the screen's graph takes it, pixels 0 to 255; all chosen on held-out films.

    `contrast_least`: standard deviation of the grey levels below which a picture is blank. `clipped_most`: the share of pixels that may
    lie at the black or white end; `bright_least`, `dark_most`: where the brightest and the darkest hundredth may end at worst.
    `usable_least` and `inverted_most` are logits of the network.
    """

    contrast_least: float
    clipped_most: Annotated[float, Meta(gt=0, le=1)]
    bright_least: Annotated[int, Meta(ge=0, le=255)]
    dark_most: Annotated[int, Meta(ge=0, le=255)]
    usable_least: float
    inverted_most: float


class ScreenCount(Frozen, frozen=True, kw_only=True):
    """So many of so many pictures were rejected, in sets that the screen was not fitted on."""

    pictures: int
    rejected: int


class ScreenEntry(Frozen, frozen=True, kw_only=True):
    """What tells a usable frontal chest film from any other picture, before a model is asked (`toolkit.infer.screen`).

    `file` is an ONNX graph: input `image` uint8 `[N, 1, size_px, size_px]`; outputs `logit` float32 `[N]`, high for a usable frontal film,
    and `inverted` float32 `[N]`, high for one with bones dark on light. `films`: films of the official test split; `others`: all pictures
    that were measured and are no usable frontal films, each counted once, of the kinds that docs/results/screen.json lists.
    """

    file: FileEntry
    size_px: Annotated[int, Meta(ge=16, le=512)]
    limits: ScreenLimits
    films: ScreenCount
    others: ScreenCount


class Manifest(Frozen, frozen=True, kw_only=True):
    """The content of `bundle.json`. `recommended` lists the artifacts that passed, fastest first, as measured on `measured_on`.

    `recommended_for`: the same by kind of processor, in the order of the same measurement. `unmeasured`: artifacts that the bundle
    carries and that could not be run where it was made, with the reason; they are not recommended. `left_out`: artifacts that were
    asked for and are not here, or that passed and are not recommended all the same, with the reason. `screen`: what rejects pictures that
    are no usable frontal films; None in bundles of synthetic films, which are drawings, and in those sealed before there was one.
    """

    schema_version: int
    name: str
    model: str
    sparsity: float
    labels: Labels
    preprocessing: Preprocessing
    artifacts: tuple[Artifact, ...]
    recommended: tuple[str, ...] = ()
    recommended_for: Mapping[Family, tuple[str, ...]] = {}
    unmeasured: Mapping[str, str] = {}
    left_out: Mapping[str, str] = {}
    measured_on: str | None = None
    reference: Reference | None = None
    files: tuple[FileEntry, ...] = ()
    screen: ScreenEntry | None = None
    provenance: Provenance
    attribution: str = ""

    def __post_init__(self) -> None:
        held = [artifact.name for artifact in self.artifacts]
        if len(set(held)) < len(held):
            raise ValueError("it holds two artifacts of the same name")
        named = {*self.recommended, *itertools.chain(*self.recommended_for.values())}
        unknown = named - set(held)
        if unknown:
            raise ValueError(f"it recommends {', '.join(sorted(unknown))}, which it does not hold")

    def all_files(self) -> frozenset[FileEntry]:
        """Every file of the bundle but the manifest; artifacts may share one."""
        screen = (self.screen.file,) if self.screen else ()
        return frozenset(file for files in (*(artifact.files for artifact in self.artifacts), self.files, screen) for file in files)


class Bundle:
    """A bundle on disk. Opening reads the manifest; `verify` compares digests; nothing missing is filled in.

    A digest tells of damage, and of whoever changes a file but not the manifest; `sha256`, held against a value that came by another way,
    tells of a changed manifest. Links inside the folder are followed, links out of it are not; a hard link is a file like any other.
    Nothing tells of somebody who changes the folder between `verify` and the runtime's own reading: keep bundles where only their owner
    writes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / MANIFEST
        raw = _read_manifest(path)
        self.sha256 = sha256_of_bytes(raw)
        self.manifest = _parse(raw, path)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the artifacts."""
        return tuple(artifact.name for artifact in self.manifest.artifacts)

    def artifact(self, name: str) -> Artifact:
        """The artifact of this name; raises InputError that lists the names there are."""
        for artifact in self.manifest.artifacts:
            if artifact.name == name:
                return artifact
        raise InputError(f"{self.folder} has no artifact '{name}'; it has: {', '.join(self.names)}.")

    def candidates(self, family: Family) -> tuple[Artifact, ...]:
        """The artifacts that passed their gate and are for these processors, fastest first; raises GateError when there is none."""
        manifest = self.manifest
        names = manifest.recommended_for.get(family, manifest.recommended)
        if not names:
            raise GateError(
                f"No artifact of {self.folder} for {family} has passed its recall gate; name one with --artifact to use it all the same."
            )
        return tuple(artifact for name in names if (artifact := self.artifact(name)).target.serves(family))

    def verify(self, artifact: Artifact | None = None) -> None:
        """Compare the digests of one artifact's files, or of all files; raises BundleError at the first that differs."""
        files = artifact.files if artifact else sorted(self.manifest.all_files(), key=lambda file: file.path)
        for file in files:
            _verify_file(self.folder, file)

    def verified_screen(self) -> Path | None:
        """Where the screen's graph lies, its digest compared; None when the bundle has none. Raises BundleError."""
        screen = self.manifest.screen
        if screen is None:
            return None
        _verify_file(self.folder, screen.file)
        return self.folder / screen.file.path

    def verified(self, name: str) -> Path | None:
        """Where a file that belongs to no artifact lies, its digest compared; None when the bundle has none of that name."""
        for file in self.manifest.files:
            if file.path == name:
                _verify_file(self.folder, file)
                return self.folder / name
        return None

    def paths(self, artifact: Artifact) -> tuple[Path, ...]:
        """Where the artifact's files lie; the first is the one to load."""
        return tuple(self.folder / file.path for file in artifact.files)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `bundle.json`; the files that it names must be there already."""
    write_atomically(folder / MANIFEST, encode_json(manifest))


def _read_manifest(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise InputError(f"No bundle at {path.parent}: there is no {MANIFEST} in it; give the folder that compress or export wrote.")
        size = path.stat().st_size
        if size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{path} has {size} bytes, more than any manifest ({MAX_MANIFEST_BYTES}). Copy the bundle again.")
        with path.open("rb") as stream:
            return stream.read(MAX_MANIFEST_BYTES)
    except OSError as cause:
        raise BundleError(f"{path} cannot be read: {cause.strerror or cause}.") from cause


def _parse(raw: bytes, path: Path) -> Manifest:
    try:
        data = parse_json(raw, "it", BundleError)
    except BundleError as cause:
        raise BundleError(f"{path} is damaged: {cause} Copy the bundle again.") from cause
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {version}; this program reads version {SCHEMA_VERSION}. Install the matching version of cxr-edge."
        )
    return decode(data, Manifest, str(path), BundleError)


def _verify_file(folder: Path, file: FileEntry) -> None:
    place = PurePosixPath(file.path)
    if place.is_absolute() or ".." in place.parts:
        raise BundleError(f"{folder / MANIFEST} names {file.path!r}, which lies outside the bundle; it is not used.")
    if place == PurePosixPath(MANIFEST) or not file.path.isprintable():
        raise BundleError(f"{folder / MANIFEST} names {file.path!r}, which is no file of a bundle; it is not used.")
    path = folder / file.path
    try:
        if not path.is_file():
            raise BundleError(f"{path} is missing; copy the bundle again.")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"{path} is a link out of the bundle; it is not used.")
        if path.stat().st_size != file.bytes or sha256_of(path) != file.sha256:
            raise BundleError(f"{path} was changed: its digest is not the sealed one; copy the bundle again.")
    except OSError as cause:
        raise BundleError(f"{path} cannot be read: {cause.strerror or cause}; copy the bundle again.") from cause
