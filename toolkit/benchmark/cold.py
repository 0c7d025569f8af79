"""Cold start of the whole command: `python -m toolkit.benchmark.cold RUNS COMMAND...`, one line of JSON for each run
(seconds, MB, exit code).

A small process of its own starts the command: Linux lets a child inherit the peak memory of the one that started it.
"""

from __future__ import annotations

import json
import os
import sys
import time

REJECTED = 3  # exit code of `predict`


def start(command: list[str]) -> tuple[float, float, int]:
    """Seconds from start to end, peak memory in MB, exit code; what it prints goes to /dev/null."""
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    started = time.monotonic()
    process = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return time.monotonic() - started, kilobytes / 1024, os.waitstatus_to_exitcode(status)


def main() -> int:
    """Start the command RUNS times; its exit code when it did not work. A film that was rejected is an answer too."""
    for _ in range(int(sys.argv[1])):
        seconds, megabytes, code = start(sys.argv[2:])
        if code not in (0, REJECTED):
            return code
        sys.stdout.write(json.dumps([seconds, megabytes, code]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
