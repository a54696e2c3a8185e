"""A real HTTP proxy that does to a store's traffic what bad networks and bad stores do.

Requests go on as they came, header by header: an S3 signature covers the Host, so the store sees
the client's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
CHUNK = 1 << 14
REFUSAL = "HTTP/1.1 {status} Refused\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
ERROR = "<Error><Code>{code}</Code><Message>later</Message><Token-0>leaked</Token-0></Error>"
"""As S3 answers; with an expired token it sends the token back."""


@dataclass
class Fault:
    """What happens to requests.

    Attributes:
        what: `refuse` answers with a status and a code; `cut` ends the connection half-way
            through the answer's body; `flip` changes a byte of it; `spoil` changes one of the
            request's; `lose` has the store do it, and hangs up instead of telling; `hang` never
            answers; `close` hangs up; `gone` takes the whole store down from then on.
        where: a part of `METHOD path`; all requests that contain it are meant.
        skip: this many of those pass first.
        times: and after so many it is over; never, if None.
        status: of a refusal.
        code: S3's name for its reason.
    """

    what: Literal["refuse", "cut", "flip", "spoil", "lose", "hang", "close", "gone"]
    where: str = ""
    skip: int = 0
    times: int | None = None
    status: int = 503
    code: str = "SlowDown"
    met: int = field(default=0, init=False)

    def strikes(self, request: str) -> bool:
        """Whether this request meets it; counts the request."""
        if self.where not in request:
            return False
        self.met += 1
        return self.met > self.skip and (self.times is None or self.met <= self.skip + self.times)


class Proxy:
    """A proxy before the store at a port of this machine.

    Attributes:
        faults: what is wrong now; the first that strikes is done.
        latency: seconds before each request goes on.
        rate: bytes of bodies a second, over all connections, both ways; None for no limit.
        requests: `METHOD path` of each request so far.
        port: where it listens.
    """

    def __init__(self, upstream: int) -> None:
        self.faults: list[Fault] = []
        self.latency = 0.0
        self.rate: float | None = None
        self.requests: list[str] = []
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task | None] = set()
        self._line_free = 0.0
        self._gone = False
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, HOST, 0, backlog=512))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.endpoint = f"http://{HOST}:{self.port}"

    def close(self) -> None:
        """Ends it; nothing listens there any more."""
        self._call(self._down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _refuse(self) -> None:
        """Listens no more. A server that is closed while it accepts loses those connections."""
        for one in self._server.sockets:
            self._loop.remove_reader(one.fileno())
        await _turn()  # connections that were being accepted are in `_serve` now
        self._server.close()

    async def _down(self) -> None:
        await self._refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _turn()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        self._writers.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection(HOST, self._upstream)
            self._writers.add(up_writer)
            try:
                while await self._exchange(reader, writer, up_reader, up_writer):
                    pass
                await writer.drain()
                writer.close()
            finally:
                self._writers.discard(up_writer)
                up_writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()  # one of the two has hung up, or the proxy ends
        finally:
            self._writers.discard(writer)
            self._tasks.discard(asyncio.current_task())

    async def _exchange(self, reader, writer, up_reader, up_writer) -> bool:
        """One request and its answer; whether the connection can have another."""
        head = await reader.readuntil(b"\r\n\r\n")
        request = head.split(b" HTTP/", 1)[0].decode()
        self.requests.append(request)
        fault = next((f for f in self.faults if f.strikes(request)), None)
        what = fault.what if fault else ""
        await asyncio.sleep(self.latency)
        if what == "hang":
            await asyncio.Event().wait()
        if what == "close":
            writer.transport.abort()
            return False
        if self._gone or what == "gone":
            self._gone = True
            await self._refuse()
            for one in list(self._writers):
                one.transport.abort()
            return False
        if fault and what == "refuse":
            await self._relay(reader, None, _length(head))
            body = ERROR.format(code=fault.code)
            refusal = REFUSAL.format(status=fault.status, length=len(body), body=body)
            writer.write(refusal.encode())
            await writer.drain()
            return False
        up_writer.write(head)
        await self._relay(reader, up_writer, _length(head), flip=what == "spoil")
        answer = await up_reader.readuntil(b"\r\n\r\n")
        if what == "lose":
            writer.transport.abort()
            return False
        writer.write(answer)
        bodyless = request.startswith("HEAD ") or answer[9:12] in {b"204", b"304"}
        length = 0 if bodyless else _length(answer)
        if length and what == "cut":
            await self._relay(up_reader, writer, length // 2)
            return False
        if b"transfer-encoding: chunked" in answer.lower() and not bodyless:
            await _relay_chunks(up_reader, writer)
        await self._relay(up_reader, writer, length, flip=what == "flip")
        return b"connection: close" not in answer.lower()

    async def _relay(self, reader, writer, length: int, *, flip: bool = False) -> None:
        left = length
        while left:
            data = await reader.readexactly(min(left, CHUNK))
            left -= len(data)
            if flip:
                data, flip = bytes([data[0] ^ 1]) + data[1:], False
            if self.rate:
                now = self._loop.time()
                self._line_free = max(self._line_free, now) + len(data) / self.rate
                await asyncio.sleep(self._line_free - now)
            if writer:
                writer.write(data)
                await writer.drain()


async def _turn() -> None:
    """Lets all that is due in the loop happen, transports that close too."""
    for _ in range(5):
        await asyncio.sleep(0)


async def _relay_chunks(reader, writer) -> None:
    """A body of unknown length, as listings are; faults do not concern those."""
    size = -1
    while size:
        line = await reader.readuntil(b"\r\n")
        size = int(line, 16)
        writer.write(line + await reader.readexactly(size + 2))
        await writer.drain()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


@contextlib.contextmanager
def before(upstream: int) -> Iterator[Proxy]:
    """A proxy before a store, until the block ends."""
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
