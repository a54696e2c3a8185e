"""An object store as `obstore` opens it: a few requests, each with an end, and errors with a fix.

Credentials and endpoints come from the environment, under the names that `object_store` reads:

    s3://BUCKET/PREFIX  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION,
                        AWS_ENDPOINT_URL, AWS_ALLOW_HTTP=true (for an endpoint without TLS),
                        AWS_SKIP_SIGNATURE=true (a public bucket), AWS_WEB_IDENTITY_TOKEN_FILE with
                        AWS_ROLE_ARN; else what an EC2, ECS or EKS machine is given. Profiles and
                        ~/.aws are not read.
    gs://BUCKET/PREFIX  GOOGLE_SERVICE_ACCOUNT (a path), GOOGLE_SERVICE_ACCOUNT_KEY (JSON), or
                        Google's application default credentials
    az://CONTAINER/...  AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY,
                        AZURE_STORAGE_SAS_TOKEN, or AZURE_STORAGE_CLIENT_ID,
                        AZURE_STORAGE_CLIENT_SECRET and AZURE_STORAGE_TENANT_ID

and HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE for all of them. Nothing is read from the URL.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from builder.remote.tasks import together

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

PART = 8 << 20
"""Bytes of a part of a large object, both ways."""

WIDTH = 8
"""Parts of a large object on their way at once; with `PART`, what one holds in memory."""

MOST_PARTS = 9_000
"""Of one upload: S3 takes 10,000."""

TOGETHER = 200
"""Objects that one request removes."""

TRYING = 0.75
"""Of the time for an answer: no new try after it, so that the last one can still say what ails."""

AGAIN = 5
"""Tries to make an object that others make and remove at the same time."""

LOCK = ".lock"
"""In a folder that is used as a store: what replacing an object is done under."""

CLIENT = (
    "allow_http",
    "allow_invalid_certificates",
    "proxy_url",
    "proxy_ca_certificate",
    "proxy_excludes",
)
"""Settings of the HTTP client that stores read from the environment, unless they are given any."""

PREFIXES = {"s3": "AWS_", "s3a": "AWS_", "gs": "GOOGLE_", "az": "AZURE_", "abfs": "AZURE_",
            "abfss": "AZURE_"}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """How long a store may take.

    Attributes:
        connect: seconds until a connection stands.
        answer: seconds until a request is answered, tries again and all, and that an answer may
            pause for.
        floor: bytes a second that large objects must come or go at, all together: a part is
            given up after `answer` and the time that `WIDTH` of its size take at this rate.
        retries: how often a request that failed is sent again, within `answer`.
    """

    connect: float = 2.0
    answer: float = 10.0
    floor: float = 1 << 20
    retries: int = 5

    def of(self, size: int) -> float:
        """Seconds that bytes may take while others like them take their share of the line."""
        return self.answer + WIDTH * size / self.floor


class UnusableError(Exception):
    """A store does not answer, or not as it should.

    Attributes:
        reason: what it said or did; no secret in it.
        fix: what its user can do.
    """

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


@dataclass(frozen=True)
class Object:
    """A small object: its bytes, and the tag of this state of it."""

    content: bytes
    tag: str


@dataclass(frozen=True)
class Listed:
    """An object as a list shows it: path below the store's URL, bytes, time of its last change."""

    path: str
    size: int
    modified: datetime


class Source(Protocol):
    """A file to upload."""

    def read(self, size: int = -1, /) -> bytes: ...  # noqa: D102
    def seek(self, offset: int, whence: int = 0, /) -> int: ...  # noqa: D102
    def tell(self) -> int: ...  # noqa: D102


class Bucket:
    """The objects below a URL.

    Args:
        url: where they are.
        limits: how long the store may take.
        create: make the folder of a `file://` URL where it is not there.

    Raises:
        UnusableError: the store cannot be opened. So do all methods, where it fails.
    """

    def __init__(self, url: str, limits: Limits, *, create: bool) -> None:
        import obstore

        self._obstore = obstore
        self._limits = limits
        self._folder = _folder(url)
        # what tells states of an object apart: Google minds its own number of each alone
        self._tagged = "version" if urlsplit(url).scheme == "gs" else "e_tag"
        try:
            self._reads, self._writes = _open(url, limits, create=create)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as e:  # a panic in Rust is no Exception
            raise _unusable(e) from e

    async def get(self, path: str, most: int) -> bytes | None:
        """The bytes of a small object; None where there is none, or one of more bytes."""

        async def ask() -> bytes | None:
            result = await self._obstore.get_async(self._reads, path)
            if result.meta["size"] > most:
                return None
            return bytes(await result.bytes_async())

        content: bytes | None = await self._within(self._limits.answer, ask())
        return content

    async def read(self, path: str, most: int) -> Object | None:
        """A small object with its tag; None where there is none, or one of more bytes."""

        async def ask() -> Object | None:
            result = await self._obstore.get_async(self._reads, path)
            if result.meta["size"] > most:
                return None
            content = bytes(await result.bytes_async())
            return Object(content, self._tag_of(result.meta, content))

        found: Object | None = await self._within(self._limits.answer, ask())
        return found

    async def size(self, path: str) -> int | None:
        """The size of an object, or None."""
        ask = self._obstore.head_async(self._reads, path)
        meta = await self._within(self._limits.answer, ask)
        return None if meta is None else int(meta["size"])

    async def part(self, path: str, start: int, length: int) -> memoryview | None:
        """Some bytes of an object: fewer, where it ends before; None where there is no object."""
        ask = self._obstore.get_range_async(self._reads, path, start=start, length=length)
        try:
            content = await self._within(self._limits.of(length), ask)
        except UnusableError as e:
            if re.search(BEYOND, str(e.__cause__)):
                return memoryview(b"")
            raise
        return None if content is None else memoryview(content)

    async def put(self, path: str, content: bytes) -> None:
        """Puts an object of at most one part; readers see all of it or what was there before."""
        put = self._obstore.put_async(self._writes, path, content, use_multipart=False)
        if await self._within(self._limits.of(len(content)), put) is None:
            raise UnusableError("it has no such bucket", NO_BUCKET)

    async def create(self, path: str, content: bytes) -> bool:
        """Puts an object where there is none; False where there is other content already.

        An answer that got lost on its way is no riddle: what is there then is read.
        """
        for _ in range(AGAIN):
            if await self._settled(path, content, None):
                return True
            if await self.size(path) is not None:
                return False
        raise UnusableError("it refuses a new object, and has none", "wait and try again")

    async def replace(self, path: str, content: bytes, tag: str) -> bool:
        """Replaces an object if it still has this tag; False where somebody was quicker.

        Stores that cannot do it in one step are folders, where a lock stands in. Lost answers are
        as in `create`.
        """
        if self._folder is None:
            return await self._settled(path, content, tag)
        with _disk():
            lock = await asyncio.to_thread(_lock, self._folder / LOCK)
        try:
            now = await self.read(path, 1 << 30)
            if now is None or now.tag != tag:
                return now is not None and now.content == content
            await self.put(path, content)
        finally:
            os.close(lock)
        return True

    async def list(self, prefix: str = "") -> list[Listed]:
        """All objects below a path that ends at a slash, in the order of their names."""
        pages = aiter(self._obstore.list(self._reads, prefix or None, chunk_size=1000))
        found = []
        while rows := await self._within(self._limits.answer, anext(pages, None)):
            found += [Listed(r["path"], r["size"], r["last_modified"]) for r in rows]
        return sorted(found, key=lambda row: row.path)

    async def delete(self, paths: Sequence[str]) -> None:
        """Removes objects; those that are not there are no error."""
        for start in range(0, len(paths), TOGETHER):
            some = list(paths[start : start + TOGETHER])
            if self._folder:
                for path in some:
                    await self._within(
                        self._limits.answer, self._obstore.delete_async(self._writes, path)
                    )
            else:
                await self._within(
                    self._limits.answer * 2, self._obstore.delete_async(self._writes, some)
                )

    async def copy(self, source: str, target: str, size: int) -> bool:
        """Copies an object within the store; False where there is no such source.

        Args:
            source: its path.
            target: the copy's path.
            size: its bytes, which say how long it may take.
        """
        done = await self._within(
            self._limits.of(size), self._give(self._obstore.copy_async, source, target)
        )
        return done is not None

    async def _give(self, function: Any, *arguments: str) -> bool:
        await function(self._writes, *arguments)
        return True

    async def keeps_conditions(self, path: str) -> bool:
        """Whether the store refuses what it must, unless it fails, which says nothing of that.

        It must not make an object that is there, nor replace one by a tag that it has not.

        Args:
            path: an object that is there, and is of no use where the answer is no.
        """
        if self._folder:
            return True
        tag = "0" if self._tagged == "version" else '"0x0"'
        with suppress(UnusableError):
            jobs = (self._conditional(path, b"{}", None), self._conditional(path, b"{}", tag))
            return not any(await together(jobs))
        return True

    def _tag_of(self, meta: Any, content: bytes) -> str:
        """The tag of a state of an object: in a folder, where times may repeat, its content's."""
        tag = None if self._folder else meta[self._tagged]
        return tag or hashlib.sha256(content).hexdigest()

    async def _settled(self, path: str, content: bytes, tag: str | None) -> bool:
        """Puts an object where there is one of this tag, or none; whether it is there then."""
        try:
            done = await self._conditional(path, content, tag)
        except UnusableError:  # which says nothing of what the store did
            there = await self._glance(path)
            if there is None or (there.content != content and there.tag == tag):
                raise
            return there.content == content
        return done or await self.get(path, len(content)) == content

    async def _glance(self, path: str) -> Object | None:
        """What is there, if a store that just failed says so soon."""
        with suppress(UnusableError, TimeoutError):
            async with asyncio.timeout(self._limits.answer / 3):
                return await self.read(path, 1 << 30)
        return None

    async def _conditional(self, path: str, content: bytes, tag: str | None) -> bool:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = {self._tagged: tag} if tag else "create"
        put = self._obstore.put_async(self._writes, path, content, mode=mode, use_multipart=False)
        try:
            done = await self._within(self._limits.of(len(content)), put)
        except UnusableError as e:
            if isinstance(e.__cause__, AlreadyExistsError | PreconditionError):
                return False
            raise
        if done is None:  # 404: of the bucket, or of the object that was to be replaced
            if tag is None:
                raise UnusableError("it has no such bucket", NO_BUCKET)
            return False
        return True

    async def upload(self, path: str, file: Source, size: int) -> None:
        """Puts a large object of so many bytes, in parts; readers see all of it or what was there.

        The file's position tells how far it came. What an upload that was cut off leaves at the
        store is for the bucket's own rule on unfinished uploads.
        """
        part = max(PART, -(-size // MOST_PARTS))
        patience = self._limits.of(part)
        source: Any = file
        put = self._obstore.put_async(
            self._writes,
            path,
            source,
            use_multipart=True,
            chunk_size=part,
            max_concurrency=WIDTH,
        )
        task = asyncio.ensure_future(self._within(None, put))
        before = -1
        try:
            while not (await asyncio.wait({task}, timeout=patience))[0]:
                if file.tell() == before:
                    raise _slow(patience)
                before = file.tell()
            # 404 of a second try to complete what the first one did, its answer lost
            if task.result() is None and await self.size(path) != size:
                raise UnusableError("it has no such bucket", NO_BUCKET)
        finally:
            task.cancel()

    async def _within(self, seconds: float | None, request: Awaitable[Any]) -> Any:
        """What a request gives, or None where it finds nothing."""
        try:
            async with asyncio.timeout(seconds):
                return await request
        except TimeoutError as e:
            raise _slow(seconds or 0) from e
        except FileNotFoundError as e:  # what obstore raises for 404
            if _code(e) in MISSING_BUCKET:
                raise _unusable(e) from e
            return None
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as e:  # a panic in Rust is no Exception
            raise _unusable(e) from e


def _open(url: str, limits: Limits, *, create: bool) -> tuple[Any, Any]:
    """A store for reading and one for writing; they differ in what they wait for.

    A client's read time-out runs while a request's body goes out, too: to writes it would be an
    end however steadily they go.
    """
    from obstore import store as stores

    from_url: Any = stores.from_url  # whose overloads know one store each
    scheme = urlsplit(url).scheme
    if scheme == "file":
        store = from_url(url, mkdir=create)
        return store, store
    if scheme not in PREFIXES:
        store = from_url(url)
        return store, store
    options: dict[str, Any] = {
        name: value
        for name in CLIENT
        if (value := os.environ.get(PREFIXES[scheme] + name.upper())) is not None
    }
    # the request as a whole has no end of its own: each is given one here, by its size
    options |= {"connect_timeout": timedelta(seconds=limits.connect), "timeout": "1h"}
    retry: Any = {
        "max_retries": limits.retries,
        "retry_timeout": timedelta(seconds=limits.answer * TRYING),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=2),
        },
    }
    patient: Any = {**options, "read_timeout": timedelta(seconds=limits.answer)}
    return (
        from_url(url, client_options=patient, retry_config=retry),
        from_url(url, client_options=options, retry_config=retry),
    )


def _folder(url: str) -> Path | None:
    """The folder that a URL names, if it names one."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


@contextmanager
def _disk() -> Iterator[None]:
    """Errors of a folder's own, in the words of those of stores."""
    try:
        yield
    except OSError as e:
        raise UnusableError(f"its folder fails: {e.strerror}", FOLDER) from e


def _lock(file: Path) -> int:
    """A descriptor that holds a lock until it is closed. Waits for it."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except BaseException:
        os.close(handle)
        raise
    return handle


# --- what errors mean ----------------------------------------------------------------------

BEYOND = "status code: 416|Invalid range|range was invalid"
"""What stores say where an object ends before a range begins: HTTP's, a memory's, a folder's."""

MISSING_BUCKET = {"NoSuchBucket", "ContainerNotFound"}
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
NO_BUCKET = "make the bucket, or correct the address"
CREDENTIALS = (
    "check the credentials in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME and _KEY) and that they may list, read "
    "and, unless read-only, write there"
)
FOLDER = "see that the folder can be read and written, and that its disk has room"
NETWORK = "check the network and the endpoint (AWS_ENDPOINT_URL)"
HTTPS = "use https://, or set AWS_ALLOW_HTTP=true (AZURE_, GOOGLE_)"
PLAIN = (
    ("builder error", "its endpoint is not https://", HTTPS),
    ("response body", "its answers break off", NETWORK),
    ("Generic URL error", "its address is none", "correct the address"),
)
"""What errors say, and what that means to whoever reads it."""


def _unusable(error: BaseException) -> UnusableError:
    """What a foreign error says, in a few words, and what to do about it."""
    brief, _, debug = str(error).partition("\n\nDebug source:")
    if "169.254.169.254" in brief or "metadata.google" in brief:  # where clouds keep them
        return UnusableError("there are no credentials for it", CREDENTIALS)
    if folder := _folders_own(brief):
        return folder
    status, code = _status(error), _code(error)
    if status or code:
        said = ": ".join(filter(None, (code, _tag(error, "Message")))) or f"status {status}"
        return _answered(status, code, said)
    for sign, reason, fix in PLAIN:
        if sign in brief:
            return UnusableError(reason, fix)
    if "error sending request" in brief:
        cause = re.search(r'(?:message|error): "([^"]+)"', debug)
        words = cause[1] if cause else "no answer"
        return UnusableError(f"it cannot be reached ({words})", NETWORK)
    return UnusableError(_without_secrets(brief)[:300], NETWORK)


def _folders_own(brief: str) -> UnusableError | None:
    if "Unable to canonicalize" in brief:
        return UnusableError("there is no such folder", "make it, or correct the address")
    system = re.search(r"([^:]+) \(os error \d+\)", brief)
    if system and "error sending request" not in brief:
        return UnusableError(f"its folder fails: {system[1].strip()}", FOLDER)
    return None


def _answered(status: str, code: str, said: str) -> UnusableError:
    if code in MISSING_BUCKET:
        return UnusableError(f"it has no such bucket ({said})", NO_BUCKET)
    if code in EXPIRED:
        return UnusableError(f"the credentials have expired ({said})", "get fresh ones")
    if code == "RequestTimeTooSkewed":
        return UnusableError(f"the clocks differ ({said})", "set the clock of this machine")
    if status in {"401", "403"}:
        return UnusableError(f"it refuses the credentials ({said})", CREDENTIALS)
    return UnusableError(f"it fails ({said})", "see what ails it, or wait and try again")


def _slow(seconds: float) -> UnusableError:
    return UnusableError(f"no answer within {seconds:.3g} s", NETWORK)


def _code(error: BaseException) -> str:
    return _tag(error, "Code")


def _tag(error: BaseException, name: str) -> str:
    """A field of the XML that S3, Azure and Google answer errors with; others may hold tokens."""
    found = re.search(f"<{name}>([^<]*)</{name}>", str(error))
    return _without_secrets(found[1].strip().partition("\n")[0]) if found else ""


def _status(error: BaseException | None) -> str:
    found = re.search(r"status code: (\d{3})", str(error))
    return found[1] if found else ""


def _without_secrets(text: str) -> str:
    """A text without the values of variables that hold secrets."""
    for name, value in os.environ.items():
        if len(value) > 7 and re.search("SECRET|TOKEN|PASSWORD|KEY", name):  # noqa: PLR2004
            text = text.replace(value, "…")
    return text
