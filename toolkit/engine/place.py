"""Whether another place has what this one has: answers depend on this package, and on the libraries that decode and calculate."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from toolkit.core.libraries import installed

PACKAGE = Path(__file__).parents[1]
LIBRARIES = ("numpy", "pillow", "onnxruntime", "openvino", "pydicom", "torch")
SOURCE_SUFFIXES = (".py", ".json", ".onnx", ".html", ".md")


class Place(NamedTuple):
    """What decides about answers: Python, the digest of this package's files, versions of the libraries that are installed."""

    python: str
    package_sha256: str
    libraries: Mapping[str, str]


def here() -> Place:
    """This process."""
    return Place(platform.python_version(), package_sha256(), installed(LIBRARIES))


def difference(wanted: Place, found: Place) -> str | None:
    """In words, what another place has otherwise; None when it will do. A library that only the other has, does no harm."""
    if wanted.python.rpartition(".")[0] != found.python.rpartition(".")[0]:
        return f"has Python {found.python}, not {wanted.python}"
    if wanted.package_sha256 != found.package_sha256:
        return f"has another cxr-edge (files {found.package_sha256[:12]}, here {wanted.package_sha256[:12]})"
    others = [
        f"{name} {found.libraries.get(name, 'missing')}, not {version}"
        for name, version in wanted.libraries.items()
        if found.libraries.get(name) != version
    ]
    return f"has {'; '.join(others)}" if others else None


@cache
def package_sha256() -> str:
    """Digest of this package's files, by their names and contents."""
    digest = sha256()
    for file in sorted(file for file in PACKAGE.rglob("*") if file.suffix in SOURCE_SUFFIXES):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(PACKAGE).as_posix()} {len(content)} ".encode() + content)
    return digest.hexdigest()
