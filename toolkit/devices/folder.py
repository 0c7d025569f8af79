"""The one folder that a visit has on a device: private, and gone afterwards, whatever happens."""

from __future__ import annotations

import logging
import secrets
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from toolkit.devices.shell import Request, Shell
from toolkit.errors import DeviceError

VISIT_S = 24 * 3600
REMOVE_S = 120
logger = logging.getLogger(__name__)


@contextmanager
def private_folder(shell: Shell, base: str) -> Iterator[str]:
    """A folder below `base` there that nobody else can read. Its name is drawn here, so that it is known even when the answer is lost.

    A keeper of its own connection removes it as soon as its input ends: when we say so, when we die, when the cable is pulled. Raises
    DeviceError when no folder can be made.
    """
    folder = f"{base.rstrip('/')}/cxr-edge-{secrets.token_hex(16)}"
    quoted = shlex.quote(folder)
    answer = shell.run(Request(f"umask 077; mkdir {quoted} && mkdir {quoted}/tmp"))
    if answer.code:
        raise DeviceError(f"{shell.where}: no folder can be made in {base} ({answer.reason}).")
    keeper = _Keeper(shell, quoted)
    try:
        yield folder
    except BaseException as cause:
        left = "" if keeper.remove() else _remove(shell, folder)
        if left and isinstance(cause, DeviceError):
            raise DeviceError(f"{cause} {left}") from cause
        raise
    left = "" if keeper.remove() else _remove(shell, folder)
    if left:
        logger.warning("%s: %s", shell.where, left)


class _Keeper(threading.Thread):
    """Holds a connection whose end removes the folder."""

    def __init__(self, shell: Shell, quoted: str) -> None:
        super().__init__(daemon=True)
        self._shell, self._quoted = shell, quoted
        self._release = threading.Event()
        self._removed = False
        self.start()

    def run(self) -> None:
        """Wait for the release, then close the input there."""
        command = f"cat > /dev/null; rm -rf {self._quoted}"
        with suppress(DeviceError):
            self._removed = self._shell.run(Request(command, feed=self._wait, limit_s=VISIT_S)).code == 0

    def remove(self) -> bool:
        """True when the folder is gone, False when that is not known."""
        self._release.set()
        self.join(REMOVE_S)
        return self._removed

    def _wait(self, _: IO[bytes]) -> None:
        while not self._release.wait(1) and not self._shell.stop.is_set():
            pass


def _remove(shell: Shell, folder: str) -> str:
    """Remove it over a fresh connection; when that fails, a sentence that says so."""
    shell.stop.clear()
    try:
        answer = shell.run(Request(f"rm -rf {shlex.quote(folder)}", limit_s=REMOVE_S))
    except DeviceError:
        return f"Its folder {folder} may be left there."
    return f"Its folder {folder} could not be removed ({answer.reason})." if answer.code else ""
