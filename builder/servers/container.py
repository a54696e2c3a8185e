"""A tritonserver in a container of an engine's: started, watched, and gone again.

It is NVIDIA's image with its own backends; nothing of ours is in it but the repositories.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Self

from builder.errors import BuilderError, InputError, MissingError, WorkFailedError
from builder.servers import isolation, options, owner
from builder.servers import log as logs
from builder.servers.endings import ending
from builder.servers.endpoint import Access, Endpoint, RefusedError, UnreachableError
from builder.servers.engine import NOT_SHARED, trouble
from builder.servers.isolation import REPOSITORIES, Wanted
from builder.servers.server import Control

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from builder.servers.engine import Engine, Image
    from builder.spec.target import Container
    from builder.triton.releases import Release

KEEPER = Path(__file__).with_name("keeper.py")
PORTS = (8000, 8001, 8002)
"""Inside: HTTP, gRPC, metrics."""
ANYWHERE = "0.0.0.0"  # noqa: S104 - inside; outside, the engine publishes it where it is told
ABSENT = ("no such container", "no container with", "no such object")
TICK = 0.05
SETTLING = 2.0
"""Seconds that the engine's programs may take to notice that a container has ended."""
PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
KILLED = 137
MEMORY = "out of memory"
OPEN = 0o005
"""What a folder's mode must have for anybody to look into it."""


class ContainerServer:
    """The target's own Triton in a container, for as long as the `with` block lasts.

    Nothing of it is left afterwards, also when this process was interrupted or killed: `keeper`
    sees to that, and where that was killed too, the next run (`owner`).

    Args:
        engine: what runs it.
        image: with tritonserver in it.
        release: what the image must hold.
        repositories: Triton model repositories.
        limits: what it may have.
        gpu: whether it gets GPUs.
        explicit: load on request; else load everything before being live.
        preload: where explicit: load everything first, as in a pod.
        verbose: Triton's `--log-verbose`.
        ready_timeout: seconds until it must be live, loading included.
        where: what names the image, for messages.
        say: told in a line what people should know.

    Raises:
        InputError: a repository is no folder, or the image holds another release.
        MissingError: the engine, or a GPU, is not to be had.
        WorkFailedError: it ended or was not live in time; the log's tail is in the message.
    """

    access = Access()
    control = Control()

    def __init__(  # noqa: PLR0913 - how a server runs, all by name
        self,
        engine: Engine,
        image: Image,
        release: Release,
        repositories: Sequence[Path],
        *,
        limits: Container,
        gpu: bool = False,
        explicit: bool = True,
        preload: bool = False,
        verbose: int = 0,
        ready_timeout: float = 300,
        where: str = "image",
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.engine = engine
        self.image = image
        self.repositories = tuple(repositories)
        self._release = release
        self._limits = limits
        self._gpu = gpu
        self._explicit = explicit
        self._preload = preload
        self._verbose = verbose
        self._ready_timeout = ready_timeout
        self._where = where
        self._say = say
        self.container = f"triton-builder-{secrets.token_hex(6)}"
        self._address = ""
        self._ports = (0, 0, 0)
        self._keeper: subprocess.Popen[str] | None = None
        self._waiting: subprocess.Popen[bytes] | None = None
        self._following: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._log = ""
        self._ended = ""

    @property
    def name(self) -> str:
        """See `Server`."""
        return f"tritonserver {self._release.server} ({self.release}), container"

    @property
    def release(self) -> str:
        """See `Server`."""
        return self._release.name

    @property
    def http(self) -> str:
        """See `Server`."""
        return f"{self._address}:{self._ports[0]}"

    @property
    def grpc(self) -> str:
        """See `Server`."""
        return f"{self._address}:{self._ports[1]}"

    @property
    def metrics(self) -> str:
        """See `Server`."""
        return f"{self._address}:{self._ports[2]}"

    def alive(self) -> bool:
        """See `Server`; told by a program of the engine's that ends when the container does."""
        waiting = self._waiting
        if waiting is None or waiting.poll() is not None:
            return False
        try:
            socket.create_connection((self._address, self._ports[0]), SETTLING).close()
        except OSError:  # it seems to have ended, which that program is a little late to say
            with contextlib.suppress(subprocess.TimeoutExpired):
                waiting.wait(SETTLING)
        return waiting.poll() is None

    def ended(self) -> str:
        """See `Server`."""
        if self._waiting is not None and not self._ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._waiting.wait(SETTLING)
            self._ended = self._state()
        return self._ended or "unknown"

    def log(self) -> str:
        """See `Server`; stays readable when the container is gone."""
        if self._output is not None:
            if self._waiting is not None and self._waiting.poll() is not None and self._following:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._following.wait(SETTLING)  # its last words are on their way
            descriptor = self._output.fileno()
            size = os.fstat(descriptor).st_size
            # pread: the engine's program writes at the offset that this file shares with it
            text = os.pread(descriptor, size, 0).decode(errors="replace")
            self._log = logs.COLOUR.sub("", text)
        return self._log

    def memory(self) -> int:
        """See `Server`; asked inside, since its processes may be another machine's."""
        if self._waiting is None or self._waiting.poll() is not None:
            return 0
        command = ("exec", self.container, "sh", "-c", "cat /proc/[0-9]*/smaps_rollup")
        try:
            told = self.engine.attempt(*command).out
        except MissingError:
            return 0
        return sum(int(size) << 10 for size in PSS.findall(told))

    def __enter__(self) -> Self:
        options.check(self.repositories)
        owner.collect(self.engine)
        try:
            self._start()
            self._wait_until_live()
            self._check_release()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _start(self) -> None:
        program = self.engine.program
        self._address = self.engine.address
        order = {
            "parent": os.getpid(),
            "remove": [program, *owner.removal(self.engine), self.container],
            "absent": ABSENT,
        }
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(KEEPER), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C is ours to act on
        )
        self._create()
        started = self.engine.attempt("start", self.container)
        if started.code:
            self._refuse_memory(self._state())
            raise trouble(self.engine.kind, started, **self._about())
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `_stop`
        self._following = subprocess.Popen(
            [program, "logs", "--follow", self.container],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        interval = ["--interval=100ms"] if self.engine.kind == "podman" else []
        self._waiting = subprocess.Popen(
            [program, "wait", *interval, self.container],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _create(self) -> None:
        """By mounts where the engine sees this machine's folders; else what they hold is copied."""
        if not self.engine.host and isolation.mountable(self.repositories):
            done = self.engine.attempt(*self._arguments(copied=False))
            if not done.code:
                return
            if not any(words in done.err.lower() for words in NOT_SHARED):
                raise trouble(self.engine.kind, done, **self._about())
            owner.remove(self.engine, self.container)
        done = self.engine.attempt(*self._arguments(copied=True))
        if done.code:
            raise trouble(self.engine.kind, done, **self._about())
        into = f"{self.container}:{REPOSITORIES}"
        as_it_is = (
            ["--archive=false"] if self.engine.kind == "podman" else []
        )  # else the user's own
        done = self.engine.attempt("cp", *as_it_is, "-", into, seconds=None, feed=self._pack)
        if done.code:
            raise trouble(self.engine.kind, done, **self._about())

    def _arguments(self, *, copied: bool) -> list[str]:
        places = [PurePosixPath(REPOSITORIES, str(n)) for n in range(len(self.repositories))]
        command = options.options(
            places,
            ANYWHERE,
            PORTS,
            explicit=self._explicit,
            preload=self._preload,
            verbose=self._verbose,
            gpu=self._gpu,
        )
        wanted = Wanted(
            name=self.container,
            image=self.image.id,
            labels={owner.LABEL: owner.Owner.me().label},
            command=["tritonserver", *command],
            publish=self._published_on(),
            ports=PORTS,
            folders={str(p): f for p, f in zip(places, self.repositories, strict=True)},
            copied=copied,
            user=isolation.user(
                (os.geteuid(), os.getegid()),
                rootless=self.engine.rootless,
                copied=copied,
                readable=copied or all(_readable(folder) for folder in self.repositories),
            ),
            limits=self._limits,
            gpu=self._gpu,
        )
        return isolation.arguments(self.engine.kind, wanted)

    def _published_on(self) -> str:
        """The engine's own address, so that nobody else's interface has the ports."""
        try:
            return socket.gethostbyname(self._address)
        except OSError as e:
            raise MissingError(
                "the engine's machine has no address",
                where=self.engine.host,
                found=e,
                fix="check the name, or use an engine of this machine",
            ) from e

    def _pack(self, pipe: IO[bytes]) -> None:
        """The repositories as an archive, for anybody to read and nobody to write."""

        def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() else 0o444
            return member

        with tarfile.open(fileobj=pipe, mode="w|", dereference=True) as archive:
            for number, folder in enumerate(self.repositories):
                archive.add(folder, str(number), filter=plain)

    def _refuse_memory(self, state: str) -> None:
        """Raises WorkFailedError where a container has ended for want of memory."""
        if MEMORY in state:
            raise WorkFailedError(
                "the server has not the memory to start",
                where=self._where,
                found=state,
                fix="raise `memory` of the target's `container`, or leave it out",
                detail=logs.tail(self.log()) or None,
            )

    def _about(self) -> dict[str, str]:
        memory = f"a limit of {_shown(self._limits.memory)}" if self._limits.memory else ""
        return {"image": self.image.name, "where": self._where, "memory": memory}

    def _wait_until_live(self) -> None:
        deadline = time.monotonic() + self._ready_timeout
        self._read_ports()
        asked = Endpoint(self.http)
        while True:
            if self._waiting is None or self._waiting.poll() is not None:
                self._refuse_memory(self.ended())
                raise self._failed(f"tritonserver ended before it was live: {self.ended()}")
            with contextlib.suppress(UnreachableError, RefusedError):
                asked.call("GET", "/v2/health/live", timeout=5)
                return
            if time.monotonic() > deadline:
                raise self._failed(f"tritonserver is not live after {self._ready_timeout:g} s")
            time.sleep(TICK)

    def _read_ports(self) -> None:
        """The ports that the engine picked; none where the container has ended already."""
        published = self.engine.inspect(self.container)["NetworkSettings"].get("Ports") or {}
        with contextlib.suppress(LookupError, TypeError, ValueError):
            http, grpc, metrics = (int(published[f"{p}/tcp"][0]["HostPort"]) for p in PORTS)
            self._ports = (http, grpc, metrics)

    def _check_release(self) -> None:
        wanted = self._release.need("server")
        try:
            told, _ = Endpoint(self.http).call("GET", "/v2", timeout=10)
            found = str(json.loads(told)["version"])
        except (UnreachableError, RefusedError, ValueError, LookupError, TypeError) as e:
            raise self._failed(f"the container's server is no Triton: {e}") from e
        if found != wanted:
            raise InputError(
                "the image holds another Triton than the target's",
                where=self._where,
                found=f"tritonserver {found} in {self.image.name}",
                expected=f"tritonserver {wanted}, which is release {self.release}",
                fix="set the target's `image` to one of its release, or its `triton` to the "
                "image's release",
            )

    def _failed(self, problem: str) -> WorkFailedError:
        where = ", ".join(str(repository) for repository in self.repositories)
        return logs.failure(problem, where, self.log())

    def _state(self) -> str:
        """How the container ended, as the engine has it."""
        try:
            state = self.engine.inspect(self.container)["State"]
            code = int(state["ExitCode"])
        except (BuilderError, LookupError, TypeError, ValueError):
            return "unknown"
        if state.get("Running"):
            return "unknown"
        limit = self._limits.memory
        if state.get("OOMKilled"):
            return MEMORY + (f", its limit is {_shown(limit)}" if limit else "")
        if code == KILLED and limit:  # some engines do not notice what the kernel killed it for
            return f"{ending(code)}, perhaps {MEMORY}: its limit is {_shown(limit)}"
        return ending(code)

    def _stop(self) -> None:
        try:
            self._leave()
        except KeyboardInterrupt:  # a second one; the keeper is bound to end soon
            self._leave()
            raise
        for program in (self._following, self._waiting):
            if program is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    program.wait(SETTLING)
                program.kill()
                program.wait()
        self.log()
        if self._output is not None:
            self._output.close()
            self._output = None

    def _leave(self) -> None:
        """Has the keeper remove the container."""
        keeper = self._keeper
        if keeper is None:
            return
        if keeper.stdin is not None and not keeper.stdin.closed:
            # Said and closed: a forked worker of ours may hold the pipe's end open.
            with contextlib.suppress(OSError):
                keeper.stdin.write("stop\n")
                keeper.stdin.flush()
            with contextlib.suppress(OSError):
                keeper.stdin.close()
        said = keeper.stdout.read() if keeper.stdout else ""
        if keeper.wait():
            self._say(
                f"{self.container} could not be removed ({said.strip()}); "
                f"{self.engine.kind} rm --force {self.container} does it"
            )
        if keeper.stdout:
            keeper.stdout.close()
        self._keeper = None


def _readable(folder: Path) -> bool:
    """Whether anybody may read what is in a folder."""
    for path, _, names in os.walk(folder):
        if os.stat(path).st_mode & OPEN != OPEN:  # noqa: PTH116 - asked thousands of times
            return False
        for name in names:
            try:
                mode = os.stat(f"{path}/{name}").st_mode  # noqa: PTH116
            except OSError:
                continue
            if stat.S_ISREG(mode) and not mode & 0o004:
                return False
    return True


def _shown(size: int | None) -> str:
    return "none" if size is None else f"{size / 1e9:g} GB"
