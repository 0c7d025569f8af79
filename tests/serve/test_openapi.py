"""The description and the answers are held against each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serve.conftest import TOKEN, Server, film_bytes, form
from toolkit.serve.openapi import REFUSED, document

KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
    "object": dict,
    "array": list,
}
STATUSES_OF_TESTS = Path(__file__).parent / "test_refusals.py"


def faults(value: Any, schema: dict[str, Any], schemas: dict[str, Any], at: str = "$") -> list[str]:
    """Where a value departs from a JSON Schema; of that language only what the document uses."""
    if "$ref" in schema:
        return faults(value, schemas[schema["$ref"].rpartition("/")[2]], schemas, at)
    if "anyOf" in schema:
        tried = [faults(value, one, schemas, at) for one in schema["anyOf"]]
        return [] if [] in tried else tried[0]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at} is {value!r}, none of {schema['enum']}"]
    if "type" in schema and not isinstance(value, KINDS[schema["type"]]):
        return [f"{at} is no {schema['type']}"]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    keys = [f"{at}.{key} is missing" for key in schema.get("required", ()) if key not in value]
    keys += [f"{at}.{key} is not described" for key in value if key not in schema["properties"]]
    inner = [faults(value[key], one, schemas, f"{at}.{key}") for key, one in schema["properties"].items() if key in value]
    return keys + [fault for found in inner for fault in found]


@pytest.fixture(scope="module")
def described(server: Server) -> dict[str, Any]:
    found = server.ask("GET", "/openapi.json").json
    assert isinstance(found, dict)
    return found


REQUESTS: dict[str, tuple[str, str, bytes | None, dict[str, str], int]] = {
    "model": ("get", "/model", None, {}, 200),
    "health": ("get", "/health", None, {}, 200),
    "film": ("post", "/predict", film_bytes(138), {}, 200),
    "form": ("post", "/predict", form(film_bytes(138))[0], {"Content-Type": form(b"")[1]}, 200),
    "heat map": ("post", "/predict?heatmap=true", film_bytes(138), {}, 200),
    "no film": ("post", "/predict", b"no film", {}, 422),
    "no form": ("post", "/predict", b"no form", {"Content-Type": "multipart/form-data; boundary=x"}, 400),
    "no parameter": ("post", "/predict?heatmap=perhaps", b"", {}, 400),
    "other page": ("post", "/predict", b"", {"Origin": "null"}, 403),
    "other host": ("get", "/model", None, {"Host": "evil.example"}, 421),
    "too large": ("post", "/predict", bytes(33_000_000), {}, 413),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_every_answer_is_as_it_is_described(server: Server, described: dict[str, Any], name: str) -> None:
    method, path, body, headers, status = REQUESTS[name]
    reply = server.ask(method.upper(), path, body, headers)
    assert reply.status == status
    content = described["paths"][path.partition("?")[0]][method]["responses"][str(status)]["content"]
    assert set(content) == {reply.headers["content-type"]}
    assert faults(reply.json, content["application/json"]["schema"], described["components"]["schemas"]) == []


def test_the_checker_finds_faults(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    about = {"$ref": "#/components/schemas/Health"}
    assert faults({"status": "ok", "busy": 1, "queue": 2}, about, schemas) == []
    assert faults({"status": "fine", "busy": "1"}, about, schemas) == [
        "$.queue is missing",
        "$.status is 'fine', none of ['ok', 'stuck']",
        "$.busy is no integer",
    ]
    assert faults({"status": "ok", "busy": 1, "queue": 2, "x": 0}, about, schemas) == ["$.x is not described"]


def test_every_described_path_and_method_is_there_and_no_other(server: Server, described: dict[str, Any]) -> None:
    for path, operations in described["paths"].items():
        for method in ("get", "post", "put", "delete", "patch"):
            status = server.ask(method.upper(), path, film_bytes(138) if method == "post" else None).status
            assert (status == 405) == (method not in operations), (method, path)


def test_every_refusal_that_the_tests_meet_is_described(described: dict[str, Any]) -> None:
    met = set(re.findall(r"\b4\d\d\b", STATUSES_OF_TESTS.read_text())) - {"400"}
    assert met - {"422"} <= set(REFUSED)
    predict = set(described["paths"]["/predict"]["post"]["responses"])
    assert met - {"404"} <= predict


def test_references_lead_somewhere_and_the_token_is_described_where_there_is_one(start: Callable[..., Server]) -> None:
    open_to_all, locked = document(needs_token=False), document(needs_token=True)
    assert set(re.findall(r"#/components/schemas/(\w+)", str(locked))) <= set(locked["components"]["schemas"])
    assert locked["openapi"].startswith("3.1.")
    assert "securitySchemes" not in open_to_all["components"]
    assert locked["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    found = start(token=TOKEN).ask("GET", "/openapi.json").json
    needing = {path for path, operations in found["paths"].items() for operation in operations.values() if operation["security"]}
    assert needing == {"/model", "/predict"}
