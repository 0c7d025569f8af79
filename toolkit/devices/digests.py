"""Is a copy whole? Fed to the device's Python as text, or imported from a stick. Python's own library alone.

`digests.json` holds the SHA-256 of each file by its path; `python digests.py FOLDER SHA256` compares them, the list's own first.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

LIST = "digests.json"
DAMAGED = 9  # exit code
NAMED = 5


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def differing(folder: Path, expected: dict[str, str]) -> list[str]:
    """Paths of the files that are missing or have another digest."""
    return [name for name, sha256 in expected.items() if not (folder / name).is_file() or sha256_of(folder / name) != sha256]


def complaint(folder: Path, list_sha256: str | None = None) -> str:
    """Which files are damaged, in a sentence; empty when all are whole."""
    listed = folder / LIST
    if not listed.is_file() or list_sha256 not in (None, sha256_of(listed)):
        return f"the list of digests, {LIST}, is missing or was damaged"
    wrong = differing(folder, json.loads(listed.read_text(encoding="ascii")))
    shown = ", ".join(wrong[:NAMED]) + (", ..." if len(wrong) > NAMED else "")
    return f"{len(wrong)} of the files were damaged or lost on the way: {shown}" if wrong else ""


def main() -> int:
    """The command."""
    found = complaint(Path(sys.argv[1]), sys.argv[2])
    sys.stderr.write(f"{found}\n" if found else "")
    return DAMAGED if found else 0


if __name__ == "__main__":
    sys.exit(main())
