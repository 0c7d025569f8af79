"""A bundle's files in memory, to be taken where its folder cannot be seen."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from toolkit.core.bundle import MANIFEST, Artifact, Bundle

Packed = Mapping[str, bytes]


def packed(bundle: Bundle, artifacts: Iterable[Artifact]) -> Packed:
    """The manifest, the artifacts' files and the screen, by their paths in the bundle; raises BundleError when one was changed."""
    paths = [bundle.folder / MANIFEST]
    for artifact in artifacts:
        bundle.verify(artifact)
        paths += bundle.paths(artifact)
    screen = bundle.verified_screen()
    return {path.relative_to(bundle.folder).as_posix(): path.read_bytes() for path in (*paths, *([screen] if screen else []))}


@contextmanager
def unpacked(files: Packed) -> Iterator[Bundle]:
    """The bundle in a folder that is removed at the end; digests are compared when an artifact of it is opened, as always."""
    with tempfile.TemporaryDirectory(prefix="cxr-edge-bundle-") as place:
        for name, content in files.items():
            (path := Path(place) / name).parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield Bundle(Path(place))
