"""A request's body -> the bytes of one film, in memory and within limits. The framework's own form parser would write to the disk."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import Request

from toolkit.serve.settings import Limits

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "file"
FORM = b"multipart/form-data"
FORM_BYTES = 16_384  # boundaries, heads and small fields around the film


class Upload(NamedTuple):
    """A film's bytes, and the name that the client gave it; empty where it gave none."""

    content: bytes
    name: str = ""


async def read_upload(request: Request, limits: Limits) -> Upload:
    """The film of a request: the field `file` of a form, or the whole body. Raises HTTPException: 400 for a form that is none or holds no
    film, 408 when it comes too slowly, 413 when it is too large."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    most = limits.upload_bytes + (FORM_BYTES if kind == FORM else 0)
    try:
        with closing(_Form(options.get(b"boundary")) if kind == FORM else _Body()) as reader:
            async with asyncio.timeout(limits.upload_s):
                await _feed(reader, request, most)
            return reader.upload()
    except TimeoutError as cause:
        raise HTTPException(408, f"The film did not arrive within {limits.upload_s:g} seconds; send it again.") from cause
    except _TooLargeError as cause:
        raise HTTPException(413, f"A film may have {limits.upload_bytes / 1e6:g} MB at most; this one is larger.") from cause
    except FormParserError as cause:
        raise HTTPException(400, "The form is damaged; send multipart/form-data with the film in the field 'file'.") from cause


class _TooLargeError(Exception):
    """More bytes than are taken."""


async def _feed(reader: _Form | _Body, request: Request, most: int) -> None:
    """Refused by the announced length where there is one, and by what arrives."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise _TooLargeError
    async for chunk in request.stream():
        most -= len(chunk)
        if most < 0:
            raise _TooLargeError
        reader.write(chunk)


class _Body:
    """The body is the film."""

    def __init__(self) -> None:
        self._content = bytearray()

    def write(self, chunk: bytes) -> None:
        self._content += chunk

    def upload(self) -> Upload:
        return Upload(bytes(self._content))

    def close(self) -> None:
        self._content.clear()


class _Form:
    """A form (RFC 7578) of which the field `file` is kept, and nothing else."""

    def __init__(self, boundary: bytes | None) -> None:
        if not boundary:
            raise HTTPException(400, "The form has no boundary; send multipart/form-data with the film in the field 'file'.")
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)
        self._films: list[tuple[str, bytearray]] = []
        self._name, self._value = bytearray(), bytearray()
        self._disposition, self._keep, self._whole = b"", False, False

    def write(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def upload(self) -> Upload:
        if not self._whole:
            raise HTTPException(400, "The form ends too early; send it again.")
        if len(self._films) != 1:
            raise HTTPException(400, f"The form holds {len(self._films)} fields 'file'; send one film at a time in it.")
        ((name, content),) = self._films
        return Upload(bytes(content), name)

    def close(self) -> None:
        """Form and parser know each other: a circle, which would hold the film until garbage is looked for."""
        self._films.clear()
        del self._parser

    def _begin(self) -> None:
        self._disposition, self._keep = b"", False

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if bytes(self._name).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._keep = options.get(b"name") == FIELD.encode()
        if self._keep:
            self._films.append((options.get(b"filename", b"").decode(errors="replace"), bytearray()))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._keep:
            self._films[-1][1].extend(data[start:end])

    def _end(self) -> None:
        self._whole = True
