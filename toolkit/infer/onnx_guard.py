"""An ONNX file that would have its runtime open other files is refused before a runtime sees it. Without the package `onnx`, which the base
install lacks.

A tensor of an ONNX file may lie in another file, named in `TensorProto.external_data` (onnx.proto3), relative or not: whoever can write a
bundle's manifest could have any file of the machine read so. The bundles made here hold all tensors in the file itself, and an artifact's
files are listed with digests, so nothing may be external. This walk follows protobuf's wire format (protobuf.dev, "Encoding") to every
place where a tensor can stand, subgraphs and functions too. What it cannot follow it refuses.

Covered: what the file says at the moment of the walk. Not covered: somebody who can change the folder while the program runs, between the
digest, this walk and the runtime's own reading. Who can do that can as well change the program's answers; keep bundles where only their
owner writes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from toolkit.errors import BundleError

SUFFIX = ".onnx"
MAX_FIELDS = 2_000_000
MAX_DEPTH = 64
VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
FIXED = {FIXED_64: 8, FIXED_32: 4}
LAST_VARINT_BYTE = 10  # 64 bits by sevens
# onnx.proto3: in which fields of a message others stand in which a tensor can be. `StringStringEntryProto` and types hold none.
INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14


class Message(NamedTuple):
    """Where a message lies in the file, and how deep inside others."""

    kind: str
    start: int
    end: int
    depth: int


def check_self_contained(path: Path) -> None:
    """Raise BundleError unless this is an ONNX file whose tensors all lie in it.

    The suffix is asked for, since by another one (.ort) a runtime would read the same bytes as another format.
    """
    if path.suffix != SUFFIX:
        raise BundleError(f"{path} is no {SUFFIX} file; it is not loaded.")
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            _walk(raw, path)
    except (OSError, ValueError) as cause:  # ValueError: an empty file
        raise BundleError(f"{path} cannot be read: {cause}; copy the bundle again.") from cause


def _walk(raw: mmap.mmap, path: Path) -> None:
    waiting, left = [Message("model", 0, len(raw), 0)], MAX_FIELDS
    while waiting:
        message = waiting.pop()
        if message.depth > MAX_DEPTH:
            raise BundleError(f"{path} nests graphs more than {MAX_DEPTH} deep; it is not loaded.")
        try:
            for field, start, end in _fields(raw, message):
                left -= 1
                if left < 0:
                    raise BundleError(f"{path} has more than {MAX_FIELDS} fields; it is not loaded.")
                if message.kind == "tensor" and field in (EXTERNAL_DATA, DATA_LOCATION) and not _is_default(raw, field, start, end):
                    raise BundleError(f"{path} wants a tensor from another file, which no bundle needs; it is not loaded.")
                if field in INSIDE[message.kind]:
                    waiting.append(Message(INSIDE[message.kind][field], start, end, message.depth + 1))
        except IndexError as cause:
            raise BundleError(f"{path} is no ONNX file, or is damaged; copy the bundle again.") from cause


def _is_default(raw: mmap.mmap, field: int, start: int, end: int) -> bool:
    """Writers may state `data_location: DEFAULT`, which is 0."""
    return field == DATA_LOCATION and not any(byte & 0x7F for byte in raw[start:end])


def _fields(raw: mmap.mmap, message: Message) -> Iterator[tuple[int, int, int]]:
    """Number of each field, and where its value begins and ends; raises IndexError for what is no message, groups among it, which ONNX
    has none of."""
    at = message.start
    while at < message.end:
        key, at = _varint(raw, at, message.end)
        kind = key & 7
        if kind == VARINT:
            end = _varint(raw, at, message.end)[1]
        elif kind == BYTES:
            length, at = _varint(raw, at, message.end)
            end = at + length
        elif kind in FIXED:
            end = at + FIXED[kind]
        else:
            raise IndexError(kind)
        if end > message.end:
            raise IndexError(end)
        yield (key & 0xFFFFFFFF) >> 3, at, end  # a key has 32 bits, whatever stands above them
        at = end


def _varint(raw: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """A number, seven bits a byte, the low ones first; and where it ends."""
    value = 0
    for place in range(min(LAST_VARINT_BYTE, end - at)):
        byte = raw[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise IndexError(at)
