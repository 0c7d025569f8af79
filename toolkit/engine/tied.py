"""A module that ends with whoever started it: `python -m toolkit.engine.tied MODULE ARGUMENTS`, with a pipe for its standard input.

The system closes the pipe when its other end is gone, however it went; a run whose worker was killed would else go on, beside the one that
takes its place.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading

LOST = 75  # EX_TEMPFAIL


def _end_with_the_pipe() -> None:
    while os.read(0, 1):
        continue
    os._exit(LOST)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
