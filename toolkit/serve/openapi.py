"""The description of the interface, OpenAPI 3.1, made of the types that are answered."""

from __future__ import annotations

from typing import Any

import msgspec

from toolkit import __version__
from toolkit.serve.answers import NOTICE, Answer, Failure, Health, Model

TYPES = (Answer, Failure, Health, Model)
REFUSED = {
    "400": "the form is damaged, or holds no film, or a parameter has no such value",
    "401": "the token is missing or wrong",
    "403": "a page of another site asks",
    "404": "there is nothing at this path",
    "405": "this path has other methods",
    "408": "the film came too slowly",
    "413": "the film is too large",
    "421": "the request names another host",
    "429": "all places are taken; Retry-After says in how many seconds to come again",
    "500": "an error of the server's own",
    "503": "the film could not be judged in time",
}
EVERYWHERE = ("405", "421", "500")


def document(*, needs_token: bool) -> dict[str, Any]:
    """What `GET /openapi.json` says."""
    _, schemas = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
    token = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if needs_token else {}
    locked: list[dict[str, Any]] = [{"token": []}] if needs_token else []
    return {
        "openapi": "3.1.0",
        "info": {"title": "cxr-edge serve", "version": __version__, "description": NOTICE},
        "paths": {
            "/": {"get": _operation("The page for people", {"200": _page()}, [])},
            "/health": {"get": _operation("Whether films are being judged", _answers(Health, "200", "503"), [])},
            "/model": {"get": _operation("What judges here", _answers(Model, "200") | _refusals("401"), locked)},
            "/openapi.json": {"get": _operation("This description", {"200": {"description": "OpenAPI 3.1", "content": _json({})}}, [])},
            "/predict": {"post": _predict(locked)},
        },
        "components": {"schemas": schemas, **token},
    }


def _predict(locked: list[dict[str, Any]]) -> dict[str, Any]:
    answers = _answers(Answer, "200", "422") | _refusals("400", "401", "403", "408", "413", "429", "503")
    answers["422"]["description"] = "the file cannot be used: the decision is REJECTED, and 'error' says why"
    answers["429"]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    film = {"type": "string", "format": "binary", "description": "JPEG, PNG, BMP, TIFF, WEBP or DICOM"}
    form = {"type": "object", "properties": {"file": film}, "required": ["file"]}
    return {
        **_operation("Judge one film", answers, locked),
        "parameters": [
            {
                "name": "heatmap",
                "in": "query",
                "description": "Answer with the film under its heat map too",
                "schema": {"type": "boolean", "default": False},
            }
        ],
        "requestBody": {
            "required": True,
            "description": "The film: the field 'file' of a form, or the body itself",
            "content": {"multipart/form-data": {"schema": form}, "application/octet-stream": {"schema": film}},
        },
    }


def _operation(summary: str, answers: dict[str, Any], security: list[dict[str, Any]]) -> dict[str, Any]:
    return {"summary": summary, "responses": answers | _refusals(*EVERYWHERE), "security": security}


def _answers(kind: type, *statuses: str) -> dict[str, Any]:
    about = {"$ref": f"#/components/schemas/{kind.__name__}"}
    text = (kind.__doc__ or "").partition("\n\n")[0]
    return {status: {"description": text, "content": _json(about)} for status in statuses}


def _refusals(*statuses: str) -> dict[str, Any]:
    found = _answers(Failure, *statuses)
    for status in statuses:
        found[status]["description"] = REFUSED[status]
    return found


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _page() -> dict[str, Any]:
    return {"description": "HTML", "content": {"text/html": {"schema": {"type": "string"}}}}
