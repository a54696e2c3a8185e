"""A store in memory that speaks as much of S3's and Google's HTTP as small objects need.

For what no real server here does: Google's generations, and a store that takes no notice of
conditions, as older S3-compatible ones do.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

HOST = "127.0.0.1"
ROW = (
    "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>&quot;{tag}&quot;</ETag>"
    "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
)


class Plain(ThreadingHTTPServer):
    """A server whose buckets are all there.

    Attributes:
        objects: bytes and generation, by bucket and key.
        conditions: whether it minds `If-Match` and the like.
        digests: what each PUT to S3 said of its body's sha256.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *, conditions: bool = True, tls: ssl.SSLContext | None = None) -> None:
        super().__init__((HOST, 0), _Handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.digests: list[str | None] = []
        self.conditions = conditions
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.lock = threading.Lock()
        self.generation = 1000
        self.endpoint = f"{'https' if tls else 'http'}://{HOST}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Plain
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        key, query = self._asked()
        if "list-type" in query:
            self._list(key, query.get("prefix", [""])[0])
            return
        found = self.server.objects.get(key)
        if found is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        content, generation = found
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not span:
            self._answer(200, content, generation)
        elif int(span[1]) >= len(content):
            self._answer(416, b"")
        else:
            part = content[int(span[1]) : int(span[2]) + 1]
            where = f"bytes {span[1]}-{int(span[1]) + len(part) - 1}/{len(content)}"
            self._answer(206, part, generation, {"Content-Range": where})

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        key, _ = self._asked()
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.digests.append(self.headers.get("x-amz-content-sha256"))
        source = self.headers.get("x-amz-copy-source") or self.headers.get("x-goog-copy-source")
        with self.server.lock:
            if source:
                content = self.server.objects[unquote(source).lstrip("/")][0]
            if self.server.conditions and not self._allowed(self.server.objects.get(key)):
                self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            self.server.generation += 1
            self.server.objects[key] = content, self.server.generation
        self._answer(200, b"<CopyObjectResult/>" if source else b"", self.server.generation)

    def do_DELETE(self) -> None:
        self.server.objects.pop(self._asked()[0], None)
        self._answer(204, b"")

    def do_POST(self) -> None:
        bucket, _ = self._asked()  # S3 deletes many at once
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        keys = re.findall("<Key>([^<]+)</Key>", body)
        for key in keys:
            self.server.objects.pop(f"{bucket}/{key}", None)
        rows = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self._answer(200, f"<DeleteResult>{rows}</DeleteResult>".encode())

    def _asked(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        return unquote(parts.path).strip("/"), query

    def _allowed(self, there: tuple[bytes, int] | None) -> bool:
        expected = self.headers.get("x-goog-if-generation-match")
        if expected is not None:
            return int(expected) == (there[1] if there else 0)
        if self.headers.get("If-None-Match") == "*":
            return there is None
        tag = self.headers.get("If-Match")
        return tag is None or (there is not None and tag == f'"{there[1]}"')

    def _list(self, bucket: str, prefix: str) -> None:
        rows = [
            ROW.format(key=escape(key.removeprefix(f"{bucket}/")), size=len(content), tag=tag)
            for key, (content, tag) in sorted(self.server.objects.items())
            if key.startswith(f"{bucket}/{prefix}")
        ]
        self._answer(200, f"<ListBucketResult>{''.join(rows)}</ListBucketResult>".encode())

    def _answer(
        self,
        status: int,
        content: bytes,
        generation: int = 0,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Last-Modified", formatdate(usegmt=True))
        self.send_header("ETag", f'"{generation}"')
        self.send_header("x-goog-generation", str(generation))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def running(*, conditions: bool = True, tls: ssl.SSLContext | None = None) -> Iterator[Plain]:
    """A server, until the block ends."""
    with Plain(conditions=conditions, tls=tls) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
