"""A device before anything is copied: its Python, packages, free space, clock."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from toolkit.core.codec import Frozen, decode, parse_json
from toolkit.devices import probe
from toolkit.devices.job import WHEELS
from toolkit.devices.payload import Entry, Options, total_bytes
from toolkit.devices.shell import Request, Shell, text
from toolkit.devices.text import plain, plain_tree
from toolkit.errors import DeviceError

NO_PYTHON, COMMAND_NOT_FOUND = 100, 127
MARGIN_BYTES = 30_000_000
UNPACKED = 5  # an environment, in sizes of its wheels


class Found(Frozen, frozen=True, kw_only=True):
    """What a device's Python says of it; see probe.describe."""

    python: tuple[int, int, int]
    machine: str
    system: str
    lacking: tuple[str, ...]
    clock: float
    host: str
    user: int


class Seen(NamedTuple):
    """A device before anything was copied: `free_bytes` None where it does not tell, `clock_off_s` against ours."""

    found: Found
    base: str
    free_bytes: int | None
    clock_off_s: float


def look(shell: Shell, options: Options) -> Seen:
    """Ask the device's shell and Python what there is. Raises DeviceError without Python 3.11, or without packages and wheels."""
    python = shlex.quote(options.python)
    base = shlex.quote(options.folder) if options.folder else '"${TMPDIR:-/tmp}"'
    command = (
        f'B={base}; printf \'%s\\n\' "$B"; df -Pk "$B" 2>/dev/null | tail -n 1; echo; '
        f"command -v {python} >/dev/null 2>&1 || exit {NO_PYTHON}; exec env PYTHONSAFEPATH=1 {python} -"
    )
    source = Path(probe.__file__).read_bytes()
    before = time.time()
    answer = shell.run(Request(command, feed=text(source)))
    after = time.time()
    if answer.code in (NO_PYTHON, COMMAND_NOT_FOUND):
        raise DeviceError(f"{shell.where} has no '{options.python}'; install Python 3.11 or newer there, or name it with --python.")
    lines = plain(answer.out.decode(errors="replace")).splitlines()
    told = next((line.removeprefix(probe.MARK) for line in lines if line.startswith(probe.MARK)), None)
    if answer.code or told is None:
        raise DeviceError(f"{shell.where} does not answer as a machine with a POSIX shell and Python does: {answer.reason}.")
    found = decode(plain_tree(parse_json(told.encode(), shell.where, DeviceError)), Found, shell.where, DeviceError)
    _refuse_unfit(shell, found, options)
    free = re.search(r"(\d+)\s+\d+%\s", lines[1]) if len(lines) > 1 else None
    return Seen(found, lines[0], int(free[1]) * 1024 if free else None, _outside(found.clock, before, after))


def _outside(clock: float, before: float, after: float) -> float:
    """Seconds by which a clock is ahead of ours (below 0: behind); what the way took is not held against it."""
    return max(0.0, clock - after) + min(0.0, clock - before)


def _refuse_unfit(shell: Shell, found: Found, options: Options) -> None:
    version = ".".join(map(str, found.python))
    if found.python[:2] < probe.OLDEST:
        raise DeviceError(f"{shell.where} has Python {version} as '{options.python}'; 3.11 or newer is needed, name it with --python.")
    if found.lacking and options.install is None:
        tag = f"manylinux_2_28_{found.machine}"
        raise DeviceError(
            f"{shell.where} lacks {', '.join(found.lacking)}. Nothing is installed there unaskedly: gather wheels (cxr-edge devices wheels "
            f"--platform {tag} --python-version {found.python[0]}.{found.python[1]} --out DIR) and give them with --install DIR."
        )


def refuse_full(shell: Shell, seen: Seen, entries: Sequence[Entry]) -> None:
    """Raise DeviceError when the entries, unpacked and installed, and a margin do not fit there."""
    wheels = total_bytes(entry for entry in entries if entry.name.startswith(f"{WHEELS}/"))
    needed = total_bytes(entries) + UNPACKED * wheels + MARGIN_BYTES
    if seen.free_bytes is not None and seen.free_bytes < needed:
        raise DeviceError(
            f"{shell.where} has {seen.free_bytes / 1e6:.0f} MB free in {seen.base}, and {needed / 1e6:.0f} MB are needed; make room there, "
            "or name another place with --folder."
        )
