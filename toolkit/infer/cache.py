"""Where compiled models are kept from one start to the next: a folder of this user alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

KEPT = 8  # compiled models; a bundle has one for each number of threads that it is started with


def usual_folder() -> Path:
    """`$XDG_CACHE_HOME/cxr-edge`, which is `~/.cache/cxr-edge` where that is not set."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "cxr-edge"


def private(folder: Path) -> Path | None:
    """The folder, made where it was missing, with room for one more model; None where nothing can be kept safely: it cannot be made, is a
    link, belongs to somebody else, or others may write into it, and could put a model of theirs there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            return None
        for old in sorted(folder.glob("*.blob"), key=lambda file: file.stat().st_mtime, reverse=True)[KEPT - 1 :]:
            old.unlink(missing_ok=True)
    except OSError:
        return None
    return folder
