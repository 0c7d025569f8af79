"""A socket, and uvicorn on it until a signal says stop."""

from __future__ import annotations

import errno
import logging
import resource
import signal
import socket
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from toolkit.errors import InputError
from toolkit.serve.protocol import HastyProtocol
from toolkit.serve.settings import Address, Limits

MOST_CONNECTIONS = 256
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def listen(host: Address, port: int) -> socket.socket:
    """A socket that takes connections; port 0 takes a free one. Raises InputError for one that is taken, and for a foreign address."""
    family = socket.AF_INET if host.version == 4 else socket.AF_INET6
    try:
        return socket.create_server((str(host), port), family=family, backlog=MOST_CONNECTIONS)
    except OSError as cause:
        if cause.errno == errno.EADDRINUSE:
            raise InputError(f"Port {port} of {host} is taken by another program; give another one with --port.") from cause
        raise InputError(f"Port {port} of {host} cannot be opened: {cause.strerror}.") from cause


def url_of(listener: socket.socket) -> str:
    """What to type into a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(app: ASGIApp, listener: socket.socket, limits: Limits) -> None:
    """Answer until SIGINT or SIGTERM; then take no further request, and return when those that were taken are answered."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # a core file would hold films
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it quotes characters of damaged forms
    config = uvicorn.Config(
        app,
        http=HastyProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=round(limits.upload_s + limits.answer_s),
    )
    server = uvicorn.Server(config)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in SIGNALS}  # uvicorn sends itself the signal again when it is done
    try:
        server.run([listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
