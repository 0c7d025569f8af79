"""Processes that end with whoever started them. A module: `python -m toolkit.engine.tied MODULE ARGUMENTS`, with a pipe for its standard
input; a worker of `multiprocessing`: `end_with_parent()`.

The system closes the pipe when its other end is gone, however it went; a run whose worker was killed would else go on, beside the one that
takes its place.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import threading

LOST = 75  # EX_TEMPFAIL


def _end_with_the_pipe() -> None:
    while os.read(0, 1):
        continue
    os._exit(LOST)


def end_with_parent() -> None:
    """From here on, a worker of `multiprocessing` ends with its parent: nobody waits for its answers then."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(LOST)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
