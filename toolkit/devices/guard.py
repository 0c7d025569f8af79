"""Runs a command until it ends or our input does: `python -m toolkit.devices.guard FOLDER COMMAND...`.

The input of a command that ssh starts ends when the connection is cut. Then the command is killed with all that it started, and FOLDER
is removed, so that a device that we lost is left as it was. Python's own library alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

LOST = 8  # exit code


def guard(folder: str, command: list[str]) -> int:
    """The command's exit code, or LOST."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    lost = threading.Event()

    def give_up(*_: object) -> None:
        lost.set()
        _end(process)

    def watch() -> None:
        while os.read(0, 4096):
            pass
        give_up()

    threading.Thread(target=watch, daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, give_up)
    code = process.wait()
    if not lost.is_set():
        return code
    shutil.rmtree(folder, ignore_errors=True)
    return LOST


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole session that the command leads."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1], sys.argv[2:]))
