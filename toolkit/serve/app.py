"""The routes of the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from toolkit.core.bundle import Bundle
from toolkit.infer.predictor import REJECTED, Predictor
from toolkit.serve.access import Access
from toolkit.serve.answers import describe, json_response, refused
from toolkit.serve.desk import Desk
from toolkit.serve.guard import Guard
from toolkit.serve.openapi import document
from toolkit.serve.page import page_response
from toolkit.serve.settings import Address, Limits
from toolkit.serve.upload import read_upload

SWITCH = {"true": True, "1": True, "false": False, "0": False}
SENTENCES = {  # in place of the framework's two words
    404: "There is nothing at this path; GET /openapi.json lists what there is.",
    405: "This path has other methods; GET /openapi.json lists them.",
}


def application(bundle: Bundle, predictor: Predictor, host: Address, token: str | None, limits: Limits) -> ASGIApp:
    """An ASGI application that judges films with `predictor`, under the limits of who may ask, and how much at once."""
    synthetic = bundle.manifest.provenance.synthetic
    desk = Desk(predictor, limits, synthetic=synthetic)
    films = _Films(desk, limits)
    fixed = {
        "/": page_response(),
        "/model": json_response(describe(bundle, predictor.artifact, limits)),
        "/openapi.json": json_response(document(needs_token=token is not None)),
    }
    inner = Starlette(
        routes=[
            Route("/predict", films.predict, methods=["POST"]),
            Route("/health", films.health, methods=["GET"]),
            *(Route(path, _always(answer), methods=["GET"]) for path, answer in fixed.items()),
        ],
        exception_handlers={HTTPException: _refuse, ClientDisconnect: _gone, Exception: _broken},
    )
    inner.router.redirect_slashes = False
    return Guard(inner, Access(host, token), frozenset({*fixed, "/predict", "/health"}), limits.upload_s)


class _Films:
    """The answers that differ from request to request."""

    def __init__(self, desk: Desk, limits: Limits) -> None:
        self._desk, self._limits = desk, limits

    async def predict(self, request: Request) -> Response:
        """POST /predict."""
        heat = _switch(request, "heatmap")
        with self._desk.reading():
            upload = await read_upload(request, self._limits)
        answer = await self._desk.judge(upload, heat=heat)
        return json_response(answer, 422 if answer.decision == REJECTED else 200)

    async def health(self, _request: Request) -> Response:
        """GET /health."""
        found = self._desk.health
        return json_response(found, 200 if found.status == "ok" else 503)


def _always(answer: Response) -> Callable[[Request], Awaitable[Response]]:
    async def answered(_request: Request) -> Response:
        return answer

    return answered


def _switch(request: Request, name: str) -> bool:
    given = request.query_params.get(name, "false")
    if given not in SWITCH:
        raise HTTPException(400, f"{name} may be one of {', '.join(SWITCH)}.")
    return SWITCH[given]


def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    error.detail = SENTENCES.get(error.status_code, error.detail)
    return refused(error)


def _gone(_request: Request, _error: Exception) -> Response:
    """The client hung up; nobody reads this."""
    return refused(HTTPException(400, "The film did not arrive whole."))


def _broken(_request: Request, _error: Exception) -> Response:
    """The guard logs where."""
    return refused(HTTPException(500, "The server met an error of its own; its log says where."))
