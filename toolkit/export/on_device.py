"""Engines for the GPU of this machine, built from the typed graphs that a bundle carries."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from toolkit.core.artifacts import FileEntry
from toolkit.core.bundle import Artifact, Bundle, Manifest, write_manifest
from toolkit.core.files import write_atomically
from toolkit.errors import BundleError, InputError
from toolkit.export.to_tensorrt import build, capabilities_of, is_available
from toolkit.infer.engine import load as load_engine
from toolkit.infer.engine import note_of
from toolkit.infer.gpu import Gpu, why_none

GRAPH = ".onnx"
UNCHECKED = "its engine was built on the device and its answers were not checked yet: cxr-edge drift does that"


def build_on_device(bundle: Bundle, artifact_name: str | None) -> Manifest:
    """Build the engines of a bundle, or of one artifact, for the GPU that is here; give the manifest that now stands in the bundle.

    Engine and note become the artifact's first files, before the typed graph. What was measured with another engine is dropped, and the
    artifact is not recommended. The bundle verifies at every moment; it is unchanged when a build fails, or when the library builds an
    engine that it then refuses to load (TensorRT-RTX on Hopper). Raises InputError where there is nothing to build or no NVIDIA GPU,
    BundleError for a bundle that does not verify, EngineError for that refusal, ModelError, MissingDependencyError.
    """
    wanted = _wanted(bundle, artifact_name)
    bundle.verify()
    reason = why_none()
    if reason:
        raise InputError(f"An engine is built for the GPU that runs it, and {reason}; run this on the device.")
    capability = Gpu().capability
    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as place:
        built = {artifact.name: _build(bundle, artifact, capability, Path(place)) for artifact in wanted}
    manifest = _with_files(bundle.manifest, {artifact.name: (_graph(bundle, artifact),) for artifact in wanted})
    write_manifest(bundle.folder, manifest)  # no engine is named while one is replaced
    for files in built.values():
        for name, content in files.items():
            write_atomically(bundle.folder / name, content)
    extended = {
        artifact.name: (*(FileEntry.of(bundle.folder, name) for name in built[artifact.name]), _graph(bundle, artifact))
        for artifact in wanted
    }
    manifest = _with_files(manifest, extended)
    write_manifest(bundle.folder, manifest)
    return manifest


def _wanted(bundle: Bundle, name: str | None) -> tuple[Artifact, ...]:
    """The named artifact, or all whose library is here; all, so that the first asks for it, where none is."""
    if name is not None and not bundle.artifact(name).target.needs_engine:
        raise InputError(f"{name} needs no engine: it runs as it is.")
    chosen = tuple(artifact for artifact in bundle.manifest.artifacts if artifact.target.needs_engine and name in (None, artifact.name))
    if not chosen:
        raise InputError(f"{bundle.folder} has no artifact that needs an engine; it has: {', '.join(bundle.names)}.")
    return tuple(artifact for artifact in chosen if is_available(artifact.target.backend)) or chosen


def _graph(bundle: Bundle, artifact: Artifact) -> FileEntry:
    for file in artifact.files:
        if file.path.endswith(GRAPH):
            return file
    raise BundleError(f"{artifact.name} of {bundle.folder} carries no ONNX graph to build an engine from; export the bundle again.")


def _build(bundle: Bundle, artifact: Artifact, capability: str, place: Path) -> dict[str, bytes]:
    """Name and content of the engine and of its note. A GPU that TensorRT-RTX does not know by name gets the engine for all later ones."""
    backend = artifact.target.backend
    aims = (capability,) if capability in capabilities_of(backend) else ()
    note = build(bundle.folder / _graph(bundle, artifact).path, backend, aims, place)
    engine = place / note.engine.path
    load_engine(backend, (engine,), artifact.target)
    return {file.name: file.read_bytes() for file in (engine, note_of(engine))}


def _with_files(manifest: Manifest, files: Mapping[str, tuple[FileEntry, ...]]) -> Manifest:
    """The manifest in which these artifacts have these files, and nothing is known of how they answer."""

    def without(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name not in files)

    return msgspec.structs.replace(
        manifest,
        artifacts=tuple(
            msgspec.structs.replace(artifact, files=files[artifact.name], metrics=None, drift=None, p50_ms=None)
            if artifact.name in files
            else artifact
            for artifact in manifest.artifacts
        ),
        recommended=without(manifest.recommended),
        recommended_for={family: without(names) for family, names in manifest.recommended_for.items()},
        unmeasured={**manifest.unmeasured, **dict.fromkeys(files, UNCHECKED)},
    )
