"""A POSIX shell, here or on a device: one command, what it is fed, what it answers, within limits."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from toolkit.devices.text import plain
from toolkit.errors import DeviceError

POLL_S = 0.1
GRACE_S = 10
STDERR_BYTES = 200_000
Feed = Callable[[IO[bytes]], None]


@dataclass(frozen=True)
class Request:
    """A command of `sh`; what writes its input; whether its input stays open until it ends, so that it notices when we are lost; its
    limits of time and of output."""

    command: str
    feed: Feed | None = None
    hold: bool = False
    limit_s: float = 120
    most_bytes: int = 1_000_000


@dataclass(frozen=True)
class Answer:
    """Exit code, output, messages without control characters; `started` is False when the command was not reached."""

    code: int
    out: bytes
    err: str
    started: bool

    @property
    def reason(self) -> str:
        """The last line of the messages."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"it ended with code {self.code}"


class Shell:
    """Runs commands by `argv`, to which one argument with the command is added. `where` names the device in messages."""

    def __init__(self, argv: Sequence[str], where: str, environment: Mapping[str, str] | None = None) -> None:
        self._argv = tuple(argv)
        self._environment = environment
        self.where = where
        self.stop = threading.Event()  # set by another thread: what runs is ended

    def run(self, request: Request) -> Answer:
        """Run to the end; whatever a login shell prints first is dropped. Raises DeviceError when time is up, too much comes back, or it is
        stopped."""
        token = secrets.token_hex(8)
        process = self._start(f"printf '%s\\n' {token}; {request.command}")
        assert process.stdin and process.stdout and process.stderr
        readers = [_Reader(process, process.stdout, request.most_bytes), _Reader(process, process.stderr, STDERR_BYTES, quiet=True)]
        feeder = threading.Thread(target=_feed, args=(process.stdin, request), daemon=True)
        feeder.start()
        try:
            self._wait(process, request.limit_s)
        finally:
            _end(process, request.hold, (feeder, *readers))
        if readers[0].overflowed:
            raise DeviceError(f"{self.where} sent back more than {request.most_bytes} bytes; that is no answer of ours.")
        _, mark, out = readers[0].data.partition(f"{token}\n".encode())
        return Answer(process.returncode, out, plain(readers[1].data.decode(errors="replace")), bool(mark))

    def _start(self, script: str) -> subprocess.Popen[bytes]:
        pipe, command = subprocess.PIPE, [*self._argv, f"sh -c {shlex.quote(script)}"]
        try:
            return subprocess.Popen(command, env=self._environment, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        except FileNotFoundError as cause:
            raise DeviceError(f"'{self._argv[0]}' is not installed here; install OpenSSH's client.") from cause

    def _wait(self, process: subprocess.Popen[bytes], limit_s: float) -> None:
        until = time.monotonic() + limit_s
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
                return
            if self.stop.is_set():
                raise DeviceError(f"{self.where}: stopped before it was done.")
            if time.monotonic() > until:
                raise DeviceError(f"{self.where} gave no answer within {limit_s:.0f} s.")


def text(data: bytes) -> Feed:
    """Writes `data`, all of it."""

    def feed(stream: IO[bytes]) -> None:
        stream.write(data)

    return feed


def local(where: str) -> Shell:
    """A shell on this machine."""
    return Shell(("sh", "-c"), where)


class _Reader(threading.Thread):
    """Takes what a stream gives, up to `most` bytes; beyond, the process is ended, or (quiet) the rest is dropped."""

    def __init__(self, process: subprocess.Popen[bytes], stream: IO[bytes], most: int, quiet: bool = False) -> None:
        super().__init__(daemon=True)
        self._process, self._stream, self._left, self._quiet = process, stream, most, quiet
        self._parts: list[bytes] = []
        self.overflowed = False
        self.start()

    @property
    def data(self) -> bytes:
        """What came so far."""
        return b"".join(self._parts)

    def run(self) -> None:
        """Read to the end."""
        with suppress(OSError, ValueError):
            while part := self._stream.read1(65536):  # type: ignore[attr-defined]
                self._parts.append(part[: self._left])
                self.overflowed |= len(part) > self._left
                self._left -= len(self._parts[-1])
                if self.overflowed and not self._quiet:
                    _kill(self._process)
                    return


def _feed(stream: IO[bytes], request: Request) -> None:
    """Write the input; a device that no longer listens is told of by its exit code."""
    with suppress(OSError, ValueError):
        if request.feed:
            request.feed(stream)
            stream.flush()
    if not request.hold:
        with suppress(OSError, ValueError):
            stream.close()


def _end(process: subprocess.Popen[bytes], hold: bool, threads: tuple[threading.Thread, ...]) -> None:
    """End what still runs: a guard by the end of its input, so that it cleans up; then everything else by force."""
    if hold and process.stdin:
        with suppress(OSError):
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    _kill(process)
    process.wait()
    for thread, stream in zip(threads, (process.stdin, process.stdout, process.stderr), strict=True):
        thread.join(GRACE_S)
        if stream and not thread.is_alive():  # else somebody else holds the other end, and closing would wait for it
            with suppress(OSError):
                stream.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With all that it started in its session."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
