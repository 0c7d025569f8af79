"""Films in an object store: `s3://bucket/prefix`, and what else Arrow knows (`gs://`, `abfs://`, `hdfs://`). Extra `cluster`.

Keys and the address of a store of one's own come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL), on each
machine that reads: names of films stand in the results, and nothing secret may stand in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from toolkit.errors import ImageError, InputError, MissingDependencyError
from toolkit.imaging.decode import DICOM_HEAD_BYTES, SUFFIXES, is_dicom
from toolkit.imaging.limits import check_file_bytes
from toolkit.infer.files import DIRECTORY

SEPARATOR = "://"


def is_remote(name: str) -> bool:
    """Whether a name is one of an object store."""
    return SEPARATOR in name


def pictures_at(url: str) -> Iterator[str]:
    """Names of all pictures below an address in their order, chosen as `infer.files` does; the address itself when it is an object.

    Of a folder the names are held, and of those below it as they are entered. Raises InputError when the store does not answer or there is
    nothing, MissingDependencyError.
    """
    if "?" in url or "@" in url:
        raise InputError(f"{url.partition(SEPARATOR)[0]}://... has settings or keys in it; put them into the environment (AWS_...).")
    scheme = url.partition(SEPARATOR)[0]
    store, path = _store(url)
    try:
        yield from (f"{scheme}{SEPARATOR}{found}" for found in _below(store, path.rstrip("/")))
    except OSError as cause:
        raise InputError(f"{url} cannot be listed: {_first_line(cause)}") from cause


def read(name: str) -> bytes:
    """An object's bytes; raises ImageError when it is gone, too large, or the store does not answer."""
    try:
        store, path = _store(name)
        with store.open_input_file(path) as stream:
            check_file_bytes(stream.size())
            raw: bytes = stream.read()
    except OSError as cause:
        raise ImageError(f"cannot be opened: {_first_line(cause)}") from cause
    return raw


def _below(store: Any, path: str) -> Iterator[str]:
    from pyarrow import fs

    info = store.get_file_info(path)
    if info.type == fs.FileType.File:
        yield path
        return
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError("there is nothing")
    waiting = [iter([info])]
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
        elif entry.type == fs.FileType.Directory:
            waiting.append(iter(sorted(store.get_file_info(fs.FileSelector(entry.path)), key=lambda one: str(one.path))))
        elif _is_picture(store, entry):
            yield entry.path


def _is_picture(store: Any, entry: Any) -> bool:
    suffix = PurePosixPath(entry.path).suffix.lower()
    if suffix in SUFFIXES:
        return True
    if entry.base_name == DIRECTORY or (suffix and not suffix[1:].isdecimal()):
        return False
    with store.open_input_file(entry.path) as stream:
        return is_dicom(stream.read(DICOM_HEAD_BYTES))


def _store(url: str) -> tuple[Any, str]:
    """Arrow's file system for an address, and the path in it."""
    scheme, _, path = url.partition(SEPARATOR)
    bucket = path.partition("/")[0]
    return _file_system(f"{scheme}{SEPARATOR}{bucket}"), path


@cache
def _file_system(bucket: str) -> Any:
    try:
        from pyarrow import ArrowInvalid, fs
    except ImportError as cause:
        raise MissingDependencyError("pyarrow", "cluster", "Reading from an object store") from cause
    try:
        return fs.FileSystem.from_uri(bucket)[0]
    except (ArrowInvalid, OSError) as cause:
        raise InputError(f"{bucket} is no address of a store that can be read: {_first_line(cause)}") from cause


def _first_line(cause: Exception) -> str:
    return str(cause).strip().partition("\n")[0]
