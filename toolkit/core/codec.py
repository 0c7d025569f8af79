"""Typed values from and to JSON: one strict reader for recipes, manifests and reports."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

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
    try:
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as cause:
            _refuse_unknown_keys(data, kind, f"{where}: ", error)  # named with the valid ones, which msgspec does not
            raise error(f"{where}: {_plain(str(cause), kind)}.") from cause
    except RecursionError as cause:
        raise error(f"{where} is nested beyond reason.") from cause


def decode_json(raw: bytes, kind: type[T], where: str, error: type[CxrEdgeError] = InputError) -> T:
    """Like `decode`, from JSON bytes."""
    return decode(parse_json(raw, where, error), kind, where, error)


def parse_json(raw: bytes, where: str, error: type[CxrEdgeError] = InputError) -> Any:
    """Plain dicts and lists of JSON bytes; raises `error` when it is none, or is nested beyond reason."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise error(f"{where} is not valid JSON: {cause}.") from cause


def read_json(path: Path, kind: type[T], error: type[CxrEdgeError] = InputError) -> T:
    """Read `kind` from a JSON file."""
    return decode_json(path.read_bytes(), kind, str(path), error)


def encode_json(value: Any) -> bytes:
    """JSON, indented, keys in the order of the fields, one newline at the end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def to_plain(value: Any) -> Any:
    """Dicts, tuples, strings and numbers only."""
    return msgspec.to_builtins(value)


def _refuse_unknown_keys(data: Any, kind: Any, at: str, error: type[CxrEdgeError]) -> None:
    """`at` is where `data` lies: the source, a colon, and the keys on the way."""
    struct = next((part for part in (kind, *get_args(kind)) if _is_struct(part)), None)
    if struct is None:
        return
    if isinstance(data, list):
        for position, item in enumerate(data):
            _refuse_unknown_keys(item, struct, f"{at.removesuffix('.')}[{position}].", error)
    if isinstance(data, dict) and kind is not struct and get_origin(kind) not in (Union, UnionType):
        for key, item in data.items():
            _refuse_unknown_keys(item, struct, f"{at}{key}.", error)
    elif isinstance(data, dict):
        _refuse_own_keys(data, struct, at, error)


def _refuse_own_keys(data: dict[str, Any], struct: type, at: str, error: type[CxrEdgeError]) -> None:
    valid = field_names(struct)
    where, _, path = at.rpartition(": ")
    for key in data:
        if key not in valid:
            raise error(f"{where}: unknown key '{path}{key}'; valid keys here: {', '.join(valid)}.")
    for field in msgspec.structs.fields(struct):
        _refuse_unknown_keys(data.get(field.encode_name), field.type, f"{at}{field.encode_name}.", error)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _plain(message: str, kind: Any) -> str:
    """msgspec's message with its `$.a.b` path in our words, and the valid values where it was one of a few."""
    text, _, path = message.partition(" - at `")
    path = path.rstrip("`").rpartition("$.")[2]  # of a key: "key` in `$.a.b"
    if text.startswith("Invalid enum value") and (choices := _choices(kind, path)):
        text += f"; valid values: {', '.join(map(str, choices))}"
    return f"'{path}': {text}" if path else text


def _choices(kind: Any, path: str) -> tuple[Any, ...]:
    """The values of the Literal at `path`, such as 'export.artifacts[0]', or of a mapping's keys."""
    for name in path.split("."):
        owner = next(part for part in (kind, *get_args(kind)) if _is_struct(part))
        kind = next(field.type for field in msgspec.structs.fields(owner) if field.encode_name == name.partition("[")[0])
    while get_origin(kind) is not Literal and get_args(kind):
        kind = get_args(kind)[0]
    return get_args(kind)
