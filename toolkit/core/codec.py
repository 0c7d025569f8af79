"""Typed values from and to JSON: one strict reader for recipes, manifests and reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from toolkit.errors import CxrEdgeError, InputError

T = TypeVar("T")


class Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every type that is stored: immutable, unknown keys refused.

    Subclasses say `frozen=True, kw_only=True` again (it is not inherited).
    """


def field_names(kind: type) -> list[str]:
    """Names of the fields of a `Frozen` type, in their order."""
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def decode(data: Any, kind: type[T], where: str, error: type[CxrEdgeError] = InputError) -> T:
    """Turn plain dicts and lists into `kind`.

    Raises `error` for an unknown key (the valid ones are listed), a missing key, a wrong type or a value
    out of range; the message starts with `where` and names the path inside it.
    """
    _refuse_unknown_keys(data, kind, where, "", error)
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as cause:
        raise error(f"{where}: {_plain(str(cause))}.") from cause


def decode_json(raw: bytes, kind: type[T], where: str, error: type[CxrEdgeError] = InputError) -> T:
    """Like `decode`, from JSON bytes."""
    try:
        data = msgspec.json.decode(raw)
    except msgspec.DecodeError as cause:
        raise error(f"{where} is not valid JSON: {cause}.") from cause
    return decode(data, kind, where, error)


def read_json(path: Path, kind: type[T], error: type[CxrEdgeError] = InputError) -> T:
    """Read `kind` from a JSON file."""
    return decode_json(path.read_bytes(), kind, str(path), error)


def encode_json(value: Any) -> bytes:
    """JSON, indented, keys in the order of the fields, one newline at the end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def to_plain(value: Any) -> Any:
    """Dicts, lists, strings and numbers only."""
    return msgspec.to_builtins(value)


def _refuse_unknown_keys(data: Any, kind: Any, where: str, path: str, error: type[CxrEdgeError]) -> None:
    kind = next((part for part in (kind, *get_args(kind)) if _is_struct(part)), None)
    if kind is None or not isinstance(data, dict):
        return
    valid = field_names(kind)
    for key in data:
        if key not in valid:
            raise error(f"{where}: unknown key '{path}{key}'; valid keys here: {', '.join(valid)}.")
    types = msgspec.structs.fields(kind)
    for field in types:
        _refuse_unknown_keys(data.get(field.encode_name), field.type, where, f"{path}{field.encode_name}.", error)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _plain(message: str) -> str:
    """msgspec's message with its `$.a.b` path in our words."""
    text, _, path = message.partition(" - at `")
    return f"'{path.rstrip('`').removeprefix('$.')}': {text}" if path else text
