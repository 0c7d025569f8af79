"""Around every request: who may ask, the headers of every answer, what is left of a body, a log without names."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from toolkit.serve.access import Access
from toolkit.serve.answers import refused

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
MOST_UNREAD_BYTES = 256_000_000

log = logging.getLogger(__name__)


class Guard:
    """An ASGI application around another; `paths` are those that may stand in the log."""

    def __init__(self, app: ASGIApp, access: Access, paths: frozenset[str], upload_s: float) -> None:
        self._app, self._access, self._paths, self._upload_s = app, access, paths, upload_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        headers = Headers(scope=scope)
        exchange = _Exchange(receive, send, time.monotonic() + self._upload_s, announced="expect" in headers)
        refusal = self._access.refusal(scope["method"], scope["path"], headers)
        try:
            await (refused(refusal) if refusal else self._app)(scope, exchange.receive, exchange.send)
        except Exception as cause:  # its text may quote the film
            place = traceback.extract_tb(cause.__traceback__)[-1]
            log.error("%s in line %s of %s", type(cause).__name__, place.lineno, place.filename)
        path = scope["path"] if scope["path"] in self._paths else "(unknown path)"
        log.info("%s %s %s %.0f ms", scope["method"], path, exchange.status, 1000 * exchange.age_s)


class _Exchange:
    """One request: what is left of its body, and what was answered."""

    def __init__(self, receive: Receive, send: Send, until: float, *, announced: bool) -> None:
        self._receive, self._send, self._until = receive, send, until
        self._announced, self._whole, self._started = announced, False, time.monotonic()
        self.status: int | None = None

    @property
    def age_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._started

    async def receive(self) -> Message:
        """The next piece of the body."""
        self._announced = False
        message = await self._receive()
        self._whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer, with the headers of every answer; its own go first."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            await self._read_rest()
            own = {name.lower() for name, _ in message["headers"]}
            further = HEADERS if self._whole else {**HEADERS, "connection": "close"}
            added = [(name.encode(), value.encode()) for name, value in further.items() if name.encode() not in own]
            message = {**message, "headers": [*message["headers"], *added]}
        await self._send(message)

    async def _read_rest(self) -> None:
        """A client that is still sending would see a broken connection, not an early answer. One that asked first ('Expect') has sent
        nothing yet."""
        left = 0 if self._announced else MOST_UNREAD_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(self._until - time.monotonic()):
                while not self._whole and left > 0:
                    left -= len((await self.receive()).get("body", b""))
