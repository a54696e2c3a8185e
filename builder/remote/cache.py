"""The shared cache: blobs and records of other machines, behind the local store.

It can only ever help. What does not answer, answers slowly or refuses is left out of the rest of
the build after one warning; what comes is taken only if it is what it should be.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from builder.errors import InputError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from builder.remote.failures import UnusableError
    from builder.remote.limits import Limits
    from builder.remote.transfers import Transfers

SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss", "file", "memory")

EXPECTED = "s3://bucket/prefix, gs://…, az://…, abfss://… or file:///folder"

GRACE = 0.5
"""Seconds that an interrupted call has to remove its temporary files."""

SETTLE = 0.05
"""Seconds in which obstore's own threads let go of requests that were cut off: they would be loud
about a Python that has ended meanwhile."""


class Remote:
    """A cache behind the local one, in any store that obstore opens.

    All methods may be called from any thread. After a failure of the store, all that is running
    and all later calls return at once, with what they have.

    Attributes:
        url: where it is.
        read_only: whether it is never written to.

    Args:
        url: where it is: `s3://bucket/prefix`, `gs://`, `az://`, `file:///folder`, `memory:///`.
        read_only: never write there.
        warn: told in one line what is wrong, in the thread of the call that met it: once that
            the cache is left out, and once that an object there is corrupt.
        limits: how long the store may take; by default, `Limits()`.
    """

    def __init__(
        self,
        url: str,
        *,
        read_only: bool,
        warn: Callable[[str], None],
        limits: Limits | None = None,
    ) -> None:
        self.read_only = read_only
        self.url = url
        self._warn = warn
        self._limits = limits
        self._lock = threading.RLock()
        self._transfers: Transfers | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._running: set[asyncio.Task[Any] | None] = set()
        self._alive = True
        self._told = False

    @property
    def alive(self) -> bool:
        """Whether it is still asked."""
        return self._alive

    def records(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The records of those keys that it has."""
        found: dict[str, bytes] = {}
        wanted = list(keys)
        if wanted:
            self._call(lambda transfers: transfers.records(wanted, found))
        return found

    def fetch(self, blobs: Mapping[str, int], place: Callable[[str], Path]) -> set[str]:
        """Copies blobs to their places.

        Args:
            blobs: their digests, with their sizes in bytes.
            place: where the blob of a digest belongs.

        Returns:
            the digests of those that arrived whole, and lie read-only at their places.

        Raises:
            WorkFailedError: the disk here is full.
            MissingError: the places may not be written.
        """
        arrived: set[str] = set()
        wanted = [(digest, size, place(digest)) for digest, size in blobs.items()]
        if wanted:
            self._call(lambda transfers: transfers.fetch(wanted, arrived))
            self._tell_of_corrupt()
        return arrived

    def push(self, key: str, record: bytes, blobs: Mapping[str, Path]) -> bool:
        """Copies those blobs there that it lacks, and then the record.

        Objects that were found corrupt, or have another size, are replaced.

        Returns:
            whether the record is there now, with all of its blobs.
        """
        if self.read_only:
            return False
        files = list(blobs.items())
        return self._call(lambda transfers: transfers.push(key, record, files))

    def distrust(self, key: str) -> None:
        """Tells, once in all, of records there that are not those of their key."""
        from builder.remote.transfers import record_path

        self._tell_once(record_path(key))

    def close(self) -> None:
        """Ends what is running; every later call returns empty."""
        with self._lock:
            self._alive = False
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop and thread:
            loop.call_soon_threadsafe(lambda: loop.create_task(_stop(loop)))
            thread.join(GRACE)

    # --- one call ----------------------------------------------------------------------

    def _call(self, job: Callable[[Transfers], Coroutine[Any, Any, None]]) -> bool:
        """Does a job in the loop's thread, and waits for it; whether all of it was done."""
        import asyncio
        from concurrent.futures import CancelledError

        from builder.remote.ends import SourceError
        from builder.remote.failures import UnusableError

        ended = threading.Event()

        async def run(transfers: Transfers) -> None:
            task = asyncio.current_task()
            self._running.add(task)
            try:
                await job(transfers)
            finally:
                self._running.discard(task)
                ended.set()

        future: Future[None] | None = None
        try:
            with self._lock:
                if not self._alive:
                    return False
                loop, transfers = self._start()
                future = asyncio.run_coroutine_threadsafe(run(transfers), loop)
            future.result()
        except UnusableError as e:
            self._give_up(e)
            return False
        except (SourceError, CancelledError):  # the latter by whoever gave up, or closed
            return False
        except BaseException:
            if future and not ended.is_set():  # an interrupt: nobody waits for it any more
                future.cancel()
                ended.wait(GRACE)
                time.sleep(SETTLE)
            raise
        return True

    def _start(self) -> tuple[asyncio.AbstractEventLoop, Transfers]:
        """The loop, in a thread of its own, and what it works with; made by the first call."""
        import asyncio

        from builder.remote.bucket import Bucket
        from builder.remote.limits import Limits
        from builder.remote.transfers import Transfers

        if self._transfers is None:
            limits = self._limits or Limits()
            self._transfers = Transfers(Bucket(self.url, limits, create=not self.read_only))
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_serve, args=(self._loop,), name="remote cache", daemon=True
            )
            self._thread.start()
        return self._loop, self._transfers

    def _give_up(self, error: UnusableError) -> None:
        """Asks no more, and ends the calls of other threads; the first failure is told."""
        with self._lock:
            first, self._alive = self._alive, False
            if self._loop:
                self._loop.call_soon_threadsafe(self._cancel_all)
        if first:
            self._warn(
                f"the remote cache {shown(self.url)} is left out of this build: "
                f"{error.reason}; {error.fix}"
            )

    def _cancel_all(self) -> None:
        for task in filter(None, self._running):
            task.cancel()

    def _tell_of_corrupt(self) -> None:
        corrupt = self._transfers.corrupt if self._transfers else None
        if corrupt:
            from builder.remote.transfers import blob_path

            self._tell_once(blob_path(min(corrupt)))

    def _tell_once(self, path: str) -> None:
        with self._lock:
            first, self._told = not self._told, True
        if first:
            self._warn(
                f"the remote cache {shown(self.url)} has a corrupt object, which was not used: "
                f"{path}; the next push of it replaces it"
            )


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _stop(loop: asyncio.AbstractEventLoop) -> None:
    import asyncio

    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(SETTLE if others else 0)
    loop.stop()


# --- addresses -----------------------------------------------------------------------------


def check_url(url: str) -> None:
    """Checks the address of a remote cache.

    Raises:
        InputError: it is none that a build may use.
    """

    def wrong(problem: str, expected: str, fix: str | None = None) -> InputError:
        return InputError(problem, found=shown(url), expected=expected, fix=fix)

    try:
        parts = urlsplit(url)
        secret = parts.password is not None or bool(parts.query or parts.fragment)
    except ValueError as e:
        raise InputError("no address of a remote cache", found=e, expected=EXPECTED) from e
    if parts.scheme not in SCHEMES:
        raise wrong("no store has such an address", EXPECTED)
    account = parts.username is not None and not parts.scheme.startswith("abfs")
    if secret or account:
        raise wrong(
            "the address holds more than a place",
            "an address without user, password or query",
            "give credentials in the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …",
        )
    if parts.scheme in {"file", "memory"}:
        if parts.netloc or not parts.path.startswith("/"):
            raise wrong("a folder's address has three slashes", f"{parts.scheme}:///folder")
        if parts.scheme == "file" and not parts.path.strip("/"):
            raise wrong("the address names no folder", "file:///folder")
    elif not parts.hostname:
        raise wrong("the address names no bucket", f"{parts.scheme}://bucket/prefix")


def shown(url: str) -> str:
    """An address as it may be printed: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no address)"
    account = parts.scheme.startswith("abfs") and parts.password is None
    place = parts.netloc if account else parts.netloc.rpartition("@")[2]
    return SplitResult(parts.scheme, place, parts.path, "", "").geturl()
