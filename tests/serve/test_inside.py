"""What no client can bring about at will: errors of the server's own, a model that hangs, a head that never ends; and the log."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.requests import Request
from starlette.types import ASGIApp, Message
from uvicorn.server import ServerState

from tests.serve.conftest import film_bytes, form, until
from toolkit.core.bundle import Bundle
from toolkit.infer.predictor import Judged, Predictor
from toolkit.serve import protocol, upload
from toolkit.serve.app import application
from toolkit.serve.settings import Limits, address

NAME = "Anna Kranke 1951.png"


async def ask(app: ASGIApp, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, Any]:
    """Status and JSON of one request to an application in this process."""
    sent: list[Message] = []
    pieces = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        return next(pieces)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", kind.encode())]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers, "root_path": "", "state": {}}
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


LIMITS = Limits()


def built(bundle: Path, limits: Limits = LIMITS, **replaced: Callable[..., Any]) -> ASGIApp:
    predictor = Predictor(Bundle(bundle))
    for name, stand_in in replaced.items():
        setattr(predictor, name, stand_in)
    return application(Bundle(bundle), predictor, address("localhost"), None, limits)


def test_an_error_of_its_own_is_answered_and_logged_without_what_it_quotes(sealed: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: Any) -> Judged:
        raise RuntimeError(f"cannot read {NAME}")

    app = built(sealed, decide=broken)
    with caplog.at_level(logging.INFO):
        status, said = asyncio.run(ask(app, "POST", "/predict", *form(film_bytes(138), NAME)))
    assert (status, said) == (500, {"error": "The server met an error of its own; its log says where."})
    assert "RuntimeError in line" in caplog.text
    assert "Anna" not in caplog.text


def test_the_log_has_a_line_a_request_and_no_name(sealed: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = built(sealed)

    async def both() -> None:
        await ask(app, "POST", "/predict", *form(film_bytes(138), NAME))
        await ask(app, "GET", f"/{NAME}")

    with caplog.at_level(logging.INFO, "toolkit.serve"):
        asyncio.run(both())
    first, second = (record.getMessage() for record in caplog.records if record.name.startswith("toolkit.serve"))
    assert first.startswith("POST /predict 200 ")
    assert second.startswith("GET (unknown path) 404 ")
    assert "Anna" not in caplog.text


def test_nothing_of_a_refused_film_waits_for_a_collection_of_garbage(sealed: Path) -> None:
    app, stream = built(sealed, Limits(upload_bytes=20_000)), io.BytesIO()
    Image.fromarray(np.zeros((300, 300), np.uint8)).save(stream, "PNG", compress_level=0)
    damaged, large = film_bytes(138)[:-30], stream.getvalue()

    async def refusals() -> list[int]:
        requests = ((damaged, ""), (large, ""), form(large), form(damaged[:9]), (b"no form", "multipart/form-data; boundary=x"))
        return [(await ask(app, "POST", "/predict", *request))[0] for request in requests * 3]

    asyncio.run(refusals())  # Pillow's modules hold a picture of their own
    gc.collect()
    gc.disable()
    try:
        before = holders()
        assert asyncio.run(refusals()) == [422, 413, 413, 422, 400] * 3
        until(lambda: holders() == before)  # a thread lets go of what it answered a moment after the answer
    finally:
        gc.enable()


def holders() -> int:
    """Objects in memory that can hold a film, or a part of one."""
    return sum(issubclass(type(one), (Image.Image, Request, upload._Form, upload._Body)) for one in gc.get_objects())


def test_a_model_that_hangs_keeps_its_place_until_it_is_done(sealed: Path) -> None:
    go_on, usual = threading.Event(), Predictor(Bundle(sealed)).decide

    def hanging(*given: Any) -> Judged:
        assert go_on.wait(20)
        return usual(*given)

    app = built(sealed, Limits(queue=1, answer_s=0.05), decide=hanging)

    async def story() -> list[Any]:
        late = await ask(app, "POST", "/predict", film_bytes(138))
        stuck, full = await ask(app, "GET", "/health"), await ask(app, "POST", "/predict", film_bytes(138))
        go_on.set()
        while (await ask(app, "GET", "/health"))[1]["busy"]:
            await asyncio.sleep(0.01)
        return [late, stuck, full, await ask(app, "GET", "/health")]

    late, stuck, full, recovered = asyncio.run(story())
    assert late[0] == 503
    assert "could not be judged in time" in late[1]["error"]
    assert stuck == (503, {"status": "stuck", "busy": 1, "queue": 1})
    assert full[0] == 429
    assert recovered == (200, {"status": "ok", "busy": 0, "queue": 1})


def test_films_are_decoded_side_by_side_and_judged_one_at_a_time(sealed: Path) -> None:
    usual = Predictor(Bundle(sealed))
    decoding, inside, most = threading.Barrier(2), threading.Lock(), []

    def prepare(*given: Any) -> Any:
        decoding.wait(20)  # two at once, or never
        return Predictor.prepare(usual, *given)

    def decide(*given: Any) -> Judged:
        most.append(inside.acquire(blocking=False))
        try:
            return Predictor.decide(usual, *given)
        finally:
            inside.release()

    app = built(sealed, prepare=prepare, decide=decide)

    async def four() -> list[tuple[int, Any]]:
        return await asyncio.gather(*(ask(app, "POST", "/predict", film_bytes(138)) for _ in range(4)))

    assert [status for status, _ in asyncio.run(four())] == [200] * 4
    assert most == [True] * 4


@asynccontextmanager
async def listening(app: Callable[..., Awaitable[None]]) -> AsyncIterator[int]:
    """The port of a server in this process, with our protocol."""
    config = uvicorn.Config(app, log_config=None, log_level="error", lifespan="off")
    config.load()
    server = await asyncio.get_running_loop().create_server(lambda: protocol.HastyProtocol(config, ServerState(), {}), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_head_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.05)

    async def story() -> bytes:
        async with listening(echo) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            return answer

    assert asyncio.run(story()) == b""


def test_a_whole_head_disarms_the_alarm_and_the_connection_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.05)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.2)
        await echo(scope, receive, send)

    async def story() -> list[bytes]:
        async with listening(slow) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            found = []
            for _ in range(2):
                writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                found.append(await asyncio.wait_for(reader.readuntil(b"\r\n\r\nwell"), 20))
            writer.close()
            return found

    assert [one[:15] for one in asyncio.run(story())] == [b"HTTP/1.1 200 OK"] * 2


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"well"})
