"""An object store that answers what Arrow asks of S3: head, list (version 2, with a delimiter), get with a range. Objects are files of a folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

HEAD = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
TIME = "2026-01-01T00:00:00.000Z"


class Store(BaseHTTPRequestHandler):
    """Path-style addresses: /BUCKET/KEY below `root`."""

    root: Path
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._object(body=False)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self._list(query)
        else:
            self._object(body=True)

    def _object(self, body: bool) -> None:
        file = self.root / unquote(urlsplit(self.path).path).strip("/")
        if not file.is_file():
            return self._answer(200 if file.is_dir() and file.parent == self.root else 404, b"")
        data, status = file.read_bytes(), 200
        if spread := self.headers.get("Range"):
            first, last = spread.removeprefix("bytes=").split("-")
            data, status = data[int(first) : int(last) + 1], 206
        return self._answer(status, data, body, file.stat().st_size)

    def _list(self, query: dict[str, list[str]]) -> None:
        bucket = self.root / unquote(urlsplit(self.path).path).strip("/")
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        objects, folders = [], set()
        for file in sorted(path for path in bucket.rglob("*") if path.is_file()):
            key = file.relative_to(bucket).as_posix()
            if not key.startswith(prefix):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if found:
                folders.add(prefix + head + found)
            else:
                size = file.stat().st_size
                objects.append(
                    f"<Contents><Key>{escape(key)}</Key><LastModified>{TIME}</LastModified><ETag>x</ETag><Size>{size}</Size></Contents>"
                )
        shared = "".join(f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in sorted(folders))
        count = f"<KeyCount>{len(objects) + len(folders)}</KeyCount><IsTruncated>false</IsTruncated>"
        self._answer(200, f"{HEAD}{count}{''.join(objects)}{shared}</ListBucketResult>".encode())

    def _answer(self, status: int, data: bytes, body: bool = True, size: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if body or size is None else size))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def store(root: Path) -> Iterator[str]:
    """The address of a store of the folder's subfolders as buckets."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Store,), {"root": root}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
