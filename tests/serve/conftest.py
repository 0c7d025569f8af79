"""A real server in a process of its own, on a free port of the loopback."""

from __future__ import annotations

import http.client
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.conftest import EDGE, make_bundle

WAIT_S = 20
TOKEN = "a-token-of-the-tests-0123456789"


class Reply(NamedTuple):
    status: int
    headers: Message
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Server(NamedTuple):
    """A running server; `temporary` is its folder for temporary files, `errors` what it wrote to standard error."""

    process: subprocess.Popen[str]
    port: int
    said: str
    temporary: Path
    errors: Path

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        connection = self.connect()
        try:
            connection.request(method, path, body, dict(headers or {}))
            return reply(connection)
        finally:
            connection.close()

    def send(self, film: bytes, query: str = "", **headers: str) -> Reply:
        return self.ask("POST", f"/predict{query}", film, {"Content-Type": "application/octet-stream", **headers})

    def begin(self, film: bytes, sent: int, kind: str = "application/octet-stream") -> http.client.HTTPConnection:
        """A connection on which the first bytes of a film were sent, when the server holds a place for it."""
        before = self.busy()
        connection = self.connect()
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Type", kind)
        connection.putheader("Content-Length", str(len(film)))
        connection.endheaders()
        connection.send(film[:sent])
        until(lambda: self.busy() > before)
        return connection

    def busy(self) -> int:
        return int(self.ask("GET", "/health").json["busy"])


def reply(connection: http.client.HTTPConnection) -> Reply:
    answer = connection.getresponse()
    return Reply(answer.status, answer.headers, answer.read())


def finished(connection: http.client.HTTPConnection, rest: bytes = b"") -> Reply:
    """The answer when the rest of a film was sent; the connection is closed."""
    try:
        connection.send(rest)
        return reply(connection)
    finally:
        connection.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def film_bytes(level: int, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((EDGE, EDGE), level, np.uint8)).save(stream, kind)
    return stream.getvalue()


def form(film: bytes, name: str = "film.png", field: str = "file", boundary: str = "limit") -> tuple[bytes, str]:
    """A form with one film, and its content type."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
    return head.encode() + film + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def command(bundle: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "toolkit.cli", "serve", str(bundle), *options]


@contextmanager
def running(bundle: Path, folder: Path, *options: str, token: str | None = None) -> Iterator[Server]:
    """A server until the block ends; killed there if it still runs."""
    temporary, errors = folder / "tmp", folder / "errors.txt"
    temporary.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(temporary)} | ({"CXR_EDGE_TOKEN": token} if token else {})
    with errors.open("a") as sink:
        process = subprocess.Popen(
            command(bundle, *(options if "--port" in options else (*options, "--port", "0"))),
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
            env=environment,
        )
    with process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert "http://" in said, errors.read_text()
            yield Server(process, int(said.split("http://")[1].split("/")[0].rpartition(":")[2]), said, temporary, errors)
        finally:
            process.kill()


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle whose answers are known by hand; read only."""
    return make_bundle(tmp_path_factory.mktemp("served") / "bundle")


@pytest.fixture(scope="session")
def server(sealed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """As it is when nothing else is said, but for the port."""
    with running(sealed, tmp_path_factory.mktemp("server"), "--queue", "40") as started:
        yield started


@pytest.fixture
def start(sealed: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts further servers, with options."""
    with ExitStack() as stack:
        yield lambda *options, **more: stack.enter_context(running(sealed, tmp_path, *options, **more))
