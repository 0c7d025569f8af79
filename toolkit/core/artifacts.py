"""What the workshop's stages hand on: checkpoints and graphs, each naming its parent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from toolkit.core.codec import Frozen
from toolkit.core.files import sha256_of
from toolkit.core.labels import Labels
from toolkit.core.operating import OperatingPoint
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.target import Backend


class Provenance(Frozen, frozen=True, kw_only=True):
    """Where an artifact comes from. Digests are SHA-256 in hexadecimal; no time is kept, so equal runs give equal files."""

    recipe_sha256: str
    data_sha256: str
    parent_sha256: str | None = None
    synthetic: bool = False
    libraries: Mapping[str, str] = {}


class Checkpoint(Frozen, frozen=True, kw_only=True):
    """A trained network: this description (`checkpoint.json`) beside its weights (`weights.safetensors`).

    `widths` names the layers of `model` that structured pruning made narrower: channels in, channels out.
    """

    model: str
    preprocessing: Preprocessing
    labels: Labels
    operating: OperatingPoint
    weights_sha256: str
    epochs: int
    sparsity: float = 0.0
    widths: Mapping[str, tuple[int, int]] = {}
    provenance: Provenance


class FileEntry(Frozen, frozen=True, kw_only=True):
    """One file, by its path relative to the folder of the description that names it."""

    path: str
    sha256: str
    bytes: int

    @classmethod
    def of(cls, folder: Path, path: str) -> FileEntry:
        """Measure `folder / path`."""
        return cls(path=path, sha256=sha256_of(folder / path), bytes=(folder / path).stat().st_size)


class Graph(Frozen, frozen=True, kw_only=True):
    """A float or quantized graph: this description (`<name>.json`) beside its files, the one to load first.

    Input `image`: uint8 `[N, 1, size_px, size_px]`; output `logit`: float32 `[N]`.
    `backend` is None for a float ONNX graph, which every backend reads.
    """

    files: tuple[FileEntry, ...]
    backend: str | None
    precision: str
    opset: int
    preprocessing: Preprocessing
    labels: Labels
    provenance: Provenance


class TensorNote(Frozen, frozen=True, kw_only=True):
    """An input or output of an engine; `dtype` in numpy's words, an axis of -1 is the batch."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class EngineNote(Frozen, frozen=True, kw_only=True):
    """A TensorRT engine: this description (`<engine>.json`) beside it. It runs with one version of the library only.

    `capabilities` are the compute capabilities of the GPUs that it is for; none stands for Ampere and all later. A batch holds 1 to
    `max_batch` films. `graph_sha256` is the digest of the typed ONNX graph that it was built from.
    """

    backend: Backend
    version: str
    capabilities: tuple[str, ...]
    max_batch: int
    inputs: tuple[TensorNote, ...]
    outputs: tuple[TensorNote, ...]
    graph_sha256: str
    engine: FileEntry
