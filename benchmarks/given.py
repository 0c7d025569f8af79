"""What the benchmarks of trained networks are given: RECIPE RUN CHEST_XRAY [KEY=VALUE ...]."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from toolkit.core.recipe import read_recipe
from toolkit.errors import CxrEdgeError
from toolkit.pipeline import Run


def with_run(work: Callable[[Run], None], stage: str) -> None:
    """Call `work` with the run of the command line, whose `stage` must be done; an error ends the process with its sentence."""
    path, out, data, *overrides = sys.argv[1:]
    try:
        run = Run(read_recipe(Path(path), tuple(overrides)), Path(data), Path(out))
        if not run.is_done(stage):
            sys.exit(f"{run.folder(stage)} holds no network of this recipe and these films: run cxr-edge {stage} first.")
        work(run)
    except CxrEdgeError as error:
        sys.exit(f"Error: {error}")
