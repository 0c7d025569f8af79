"""The OpenVINO int8 graph of a sealed bundle laid out anew, as `compress` writes it today, when every answer stays the same bit.

    python -m benchmarks.relay exported/NAME ../shared/data/chest_xray_224

Asks the graph before and after on all films, and writes nothing when an answer differs. Networks, thresholds and metrics stay; sizes and
digests follow, in the manifest, the card, the report and where the bundle's answers are recorded.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import openvino

from benchmarks.cards import renew
from toolkit.core.artifacts import FileEntry
from toolkit.core.bundle import Artifact, Bundle, Manifest
from toolkit.core.codec import decode, read_json, to_plain
from toolkit.core.files import write_atomically
from toolkit.core.reports import RunReport
from toolkit.core.target import Target
from toolkit.data.films import Films, prepare_films
from toolkit.data.sources import read_source
from toolkit.data.splits import labelled_films
from toolkit.errors import StorageError
from toolkit.imaging.decode import Pixels
from toolkit.infer.runtimes import runtime
from toolkit.quantize.for_openvino import write
from toolkit.quantize.ir_rewrites import make_smaller


def relay(folder: Path, films: Films) -> str:
    """Lay out the graph anew; gives what that brought, in a sentence. Raises ValueError when an answer differs."""
    bundle = Bundle(folder)
    bundle.verify()
    artifact = bundle.artifact("openvino-int8")
    model = openvino.Core().read_model(str(folder / artifact.files[0].path))
    make_smaller(model)
    with tempfile.TemporaryDirectory() as place:
        write(model, Path(place) / artifact.files[0].path)
        _refuse_difference(artifact, folder, Path(place), films.images)
        for file in artifact.files:
            write_atomically(folder / file.path, (Path(place) / file.path).read_bytes())
    after = msgspec.structs.replace(artifact, files=tuple(FileEntry.of(folder, file.path) for file in artifact.files))
    report = read_json(folder / "report.json", RunReport)
    renew(folder, _replaced(bundle.manifest, after), _resized(report, artifact, after))
    return f"{folder}: {artifact.bytes} bytes, now {after.bytes}; all answers to {len(films)} films are the same"


def _refuse_difference(artifact: Artifact, before: Path, after: Path, images: Pixels) -> None:
    """All outputs, one film at a time and in a batch."""
    old, new = (
        runtime("openvino").load([folder / file.path for file in artifact.files], target=artifact.target) for folder in (before, after)
    )
    asked = [*(film[None] for film in images), images[:16]]
    for films in asked:
        for was, now in zip(old.outputs(films), new.outputs(films), strict=True):
            if not np.array_equal(was, now):
                raise ValueError(f"{before}: the graph answers otherwise when it is laid out anew; nothing was written")


def _replaced(manifest: Manifest, artifact: Artifact) -> Manifest:
    """With this artifact in place of the one of its name; recommended where it gives its sealed answers."""
    artifacts = tuple(artifact if one.name == artifact.name else one for one in manifest.artifacts)
    fitting = {
        family: tuple(name for name in names if Target.from_name(name).serves(family)) for family, names in manifest.recommended_for.items()
    }
    return msgspec.structs.replace(manifest, artifacts=artifacts, recommended_for=fitting)


def _resized(report: RunReport, before: Artifact, after: Artifact) -> RunReport:
    """The report with the new size wherever it states the old one of this artifact."""
    plain = to_plain(report)
    for stated, size in ((plain["latency"]["rows"], "model_bytes"), (plain["quantizing"]["attempts"], "bytes")):
        for row in stated:
            if (row["artifact"], row[size]) == (before.name, before.bytes):
                row[size] = after.bytes
    return decode(plain, RunReport, "report.json", StorageError)


def main() -> None:
    """Of the bundle and the films that are named."""
    folder, place = map(Path, sys.argv[1:])
    source = read_source(place)
    films = prepare_films(source, labelled_films(source), Bundle(folder).manifest.preprocessing, "read")
    print(relay(folder, films))


if __name__ == "__main__":
    main()
