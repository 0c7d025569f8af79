"""A sealed bundle's card made anew, from the report that lies beside it.

    python -m benchmarks.cards exported/NAME

Networks, thresholds and figures stay what they are, so what was recorded of the bundle's answers stays too, under its new digest.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from toolkit.core.artifacts import FileEntry
from toolkit.core.bundle import CARD, Bundle, Manifest, write_manifest
from toolkit.core.codec import encode_json, read_json
from toolkit.core.files import folder_bytes, write_atomically
from toolkit.core.reports import RunReport
from toolkit.report.card import render_card

ROOT = Path(__file__).parent.parent


def renew(folder: Path, manifest: Manifest, report: RunReport) -> None:
    """Write the card of this manifest and report, its digest into the manifest, and the manifest's digest wherever the bundle is known by
    it."""
    before = Bundle(folder)
    write_atomically(folder / CARD, render_card(manifest, report))
    files = tuple(FileEntry.of(folder, file.path) for file in manifest.files)
    write_manifest(folder, msgspec.structs.replace(manifest, files=files))
    after = Bundle(folder)
    after.verify()
    size = folder_bytes(folder) - (folder / "report.json").stat().st_size
    write_atomically(folder / "report.json", encode_json(msgspec.structs.replace(report, bundle_bytes=size, bundle_sha256=after.sha256)))
    for record in records(folder.resolve().name):
        write_atomically(record, record.read_text(encoding="utf-8").replace(before.sha256, after.sha256))


def records(name: str) -> tuple[Path, ...]:
    """Files that know a bundle of exported/ by the digest of its manifest."""
    return ROOT / "tests" / "regression" / name / "record.json", ROOT / "device_tests" / "golden" / f"{name}.json"


if __name__ == "__main__":
    place = Path(sys.argv[1])
    renew(place, Bundle(place).manifest, read_json(place / "report.json", RunReport))
