"""A PostgreSQL server of the test's own, from Debian's package, on a socket in its folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
needs_postgres = pytest.mark.skipif(not FOUND, reason="PostgreSQL is not installed: Debian's package postgresql")
OWNER = "postgres"  # it does not run as root


class Server:
    """`url` is what SQLAlchemy takes."""

    def __init__(self, folder: Path) -> None:
        self._data, self._folder = folder / "data", folder
        self.url = f"postgresql+psycopg://{OWNER}@/postgres?host={folder}"
        self._call("initdb", "-D", self._data, "-U", OWNER, "--auth=trust", "--no-sync")

    def start(self) -> None:
        """Answer from now on."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self._folder} -c fsync=off"
        self._call("pg_ctl", "-D", self._data, "-w", "-l", self._folder / "log", "-o", options, "start")

    def stop(self) -> None:
        """Answer no longer, at once."""
        self._call("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop", check=False)

    def _call(self, program: str, *arguments: str | Path, check: bool = True) -> None:
        user = ["runuser", "-u", OWNER, "--"] if os.getuid() == 0 else []
        command = [*user, str(FOUND[-1].with_name(program)), *map(str, arguments)]
        subprocess.run(command, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder)


@contextmanager
def server() -> Iterator[Server]:
    """Started; stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="cxr-pg-"))  # a short path: sockets have 107 bytes

    try:
        if os.getuid() == 0:
            owner = pwd.getpwnam(OWNER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        found = Server(folder)
        found.start()
        try:
            yield found
        finally:
            found.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
