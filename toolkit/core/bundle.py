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
from toolkit.core.files import sha256_of, sha256_of_bytes, write_atomically
from toolkit.core.labels import Labels
from toolkit.core.operating import OperatingPoint
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.reports import Evaluation, Mode, Verdict
from toolkit.core.target import Family, Target
from toolkit.errors import BundleError, GateError, InputError

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"
CARD = "README.md"
REFERENCE_SCORES = "reference_scores.csv"
MAX_MANIFEST_BYTES = 4_000_000


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


class Manifest(Frozen, frozen=True, kw_only=True):
    """The content of `bundle.json`. `recommended` lists the artifacts that passed, fastest first, as measured on `measured_on`.

    `recommended_for`: the same by kind of processor, in the order of the same measurement. `unmeasured`: artifacts that the bundle
    carries and that could not be run where it was made, with the reason; they are not recommended. `left_out`: artifacts that were
    asked for and are not here, or that passed and are not recommended all the same, with the reason.
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
    provenance: Provenance
    attribution: str = ""

    def __post_init__(self) -> None:
        named = {*self.recommended, *itertools.chain(*self.recommended_for.values())}
        unknown = named - {artifact.name for artifact in self.artifacts}
        if unknown:
            raise ValueError(f"it recommends {', '.join(sorted(unknown))}, which it does not hold")

    def all_files(self) -> frozenset[FileEntry]:
        """Every file of the bundle but the manifest; artifacts may share one."""
        return frozenset(file for files in (*(artifact.files for artifact in self.artifacts), self.files) for file in files)


class Bundle:
    """A bundle on disk. Opening reads the manifest; `verify` compares digests; nothing missing is filled in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / MANIFEST
        if not path.is_file():
            raise InputError(f"No bundle at {folder}: there is no {MANIFEST} in it; give the folder that compress or export wrote.")
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleError(
                f"{path} has {path.stat().st_size} bytes, more than any manifest ({MAX_MANIFEST_BYTES}). Copy the bundle again."
            )
        raw = path.read_bytes()
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
        raise BundleError(f"{folder / MANIFEST} names '{file.path}', which lies outside the bundle; it is not used.")
    path = folder / file.path
    if not path.is_file():
        raise BundleError(f"{path} is missing; copy the bundle again.")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{path} is a link out of the bundle; it is not used.")
    if path.stat().st_size != file.bytes or sha256_of(path) != file.sha256:
        raise BundleError(f"{path} was changed: its digest is not the sealed one; copy the bundle again.")
