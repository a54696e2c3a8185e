"""A tritonserver in a container of an engine's: started, watched, and gone again.

It is NVIDIA's image with its own backends; nothing of ours is in it but the repositories.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets
import socket
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from builder.errors import BuilderError, InputError, MissingError, WorkFailedError
from builder.servers import causes, gpus, version
from builder.servers import log as logs
from builder.servers import ports as port_numbers
from builder.servers.containers import inside, owner
from builder.servers.containers.creation import PORTS, Creation
from builder.servers.containers.trouble import trouble
from builder.servers.endings import MEMORY, ending
from builder.servers.endpoint import Endpoint, RefusedError, UnreachableError
from builder.servers.guard import Guard
from builder.servers.launch import Launch
from builder.servers.output import Output
from builder.servers.started import StartedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.servers.containers.engine import Engine, Image
    from builder.servers.containers.plans import Plans
    from builder.servers.gpus import Gpu
    from builder.spec.target import Container
    from builder.triton.releases import Release

    Program = subprocess.Popen[bytes]

KEEPER = Path(__file__).with_name("keeper.py")
ABSENT = ("no such container", "no container with", "no such object")
SETTLING = 2.0
"""Seconds that the engine's programs may take to notice that a container has ended."""
NO_CUDA = re.compile(r"Unable to allocate pinned system memory[^:\n]*: (?P<why>[^\"\n]+)")
"""What a server says that was not told to do without."""
KILLED = 137


class ContainerServer(StartedServer):
    """The target's own Triton in a container.

    `keeper` removes the container, and where that was killed too, the next run (`owner`).

    Args:
        engine: what runs it.
        image: with tritonserver in it.
        release: what the image must hold.
        repositories: Triton model repositories.
        launch: how it is started.
        limits: what it may have.
        gpu: whether it gets GPUs.
        plans: what is asked of it by plans of TensorRT that it is to load; None where it gets none.
        where: what names the image, for messages.
        say: told in a line what people should know.

    Raises:
        InputError: a repository is no folder, a port that was asked for is taken, or the image
            holds another release, or another TensorRT than the plans'.
        MissingError: the engine, or a GPU, is not to be had, or one has no plan.
        WorkFailedError: it ended or was not live in time; the log's tail is in the message.
    """

    kind = "container"

    def __init__(  # noqa: PLR0913 - how a server runs, all by name
        self,
        engine: Engine,
        image: Image,
        release: Release,
        repositories: Sequence[Path],
        launch: Launch = Launch(),  # noqa: B008 - a value
        *,
        limits: Container,
        gpu: bool = False,
        plans: Plans | None = None,
        where: str = "image",
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(repositories, launch, release.server, release.name)
        self.engine = engine
        self.image = image
        self._expected = release
        self._limits = limits
        self._gpu = gpu
        self._plans = plans
        self._where = where
        self._say = say
        self.container = f"triton-builder-{secrets.token_hex(6)}"
        self._waiting: Program | None = None
        self._following: Program | None = None
        self._removal: Output | None = None
        self._ended = ""
        self._killed = 0

    def alive(self) -> bool:
        """See `Server`; told by a program of the engine's that ends when the container does."""
        waiting = self._waiting
        if waiting is None or waiting.poll() is not None:
            return False
        try:
            socket.create_connection((self._host, self._ports[0]), SETTLING).close()
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
        """See `Server`."""
        if self._following and not self._runs:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._following.wait(SETTLING)  # its last words are on their way
        return super().log()

    def memory(self) -> int:
        """See `Server`; asked inside, since its processes may be another machine's."""
        if not self._runs:
            return 0
        return inside.held(self.engine.inside(self.container, inside.HELD))

    def gpus(self) -> Sequence[Gpu]:
        """See `Server`; told by `nvidia-smi`, which the engine puts where it gives GPUs."""
        if not (self._gpu and self._runs):
            return ()
        return gpus.read(self.engine.inside(self.container, gpus.ASK)) or super().gpus()

    def shortage(self) -> str | None:
        """See `Server`: processes that its kernel has killed, for want of memory."""
        limit = self._limits.memory
        if not limit or not self._runs:
            return None
        told = self.engine.inside(self.container, inside.KILLS)
        killed = inside.killed(told)
        before, self._killed = self._killed, killed
        if killed <= before:
            return None
        return f"memory: {killed - before} of its processes killed, its limit is {_shown(limit)}"

    @property
    def _runs(self) -> bool:
        return self._waiting is not None and self._waiting.poll() is None

    def _start(self) -> None:
        if self.launch.ports and not self.engine.host:
            port_numbers.check(self.launch.ports)
        owner.collect(self.engine)
        self._host = self.engine.address
        self._removal = Output()
        self.guard = Guard(KEEPER, self._order(), self._removal.file)
        Creation(
            self.engine,
            self.image,
            self.container,
            self.repositories,
            self.launch,
            self._limits,
            self._gpu,
            self._about(),
        ).make()
        started = self.engine.attempt("start", self.container)
        if started.code:
            self._refuse_memory(self._state())
            raise trouble(self.engine.kind, started, **self._about())
        self._output = Output()
        self._following = self._beside("logs", "--follow", output=self._output.file)
        interval = ["--interval=100ms"] if self.engine.kind == "podman" else []
        self._waiting = self._beside("wait", *interval)
        self._read_ports()
        self._wait_until_live()
        self._check_release()
        if self._gpu:
            self._check_gpu()

    def _order(self) -> dict[str, Any]:
        """What `keeper` is to do."""
        program, drain = self.engine.program, math.ceil(self.launch.drain)
        return {
            "parent": os.getpid(),
            "stop": [program, "stop", "-t", str(drain), self.container] if drain else None,
            "remove": [program, *owner.removal(self.engine), self.container],
            "absent": ABSENT,
        }

    def _beside(self, *command: str, output: IO[bytes] | int = subprocess.DEVNULL) -> Program:
        """A program of the engine's that runs as long as the container does."""
        return subprocess.Popen(
            [self.engine.program, *command, self.container],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

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

    def _live(self) -> bool:
        try:
            Endpoint(self.http).call("GET", "/v2/health/live", timeout=5)
        except (UnreachableError, RefusedError):
            return False
        return True

    def _check_runs(self) -> None:
        if not self._runs:
            self._refuse_memory(self.ended())
            raise self._failed(f"tritonserver ended before it was live: {self.ended()}")

    def _read_ports(self) -> None:
        """The ports that the engine picked; none where the container has ended already."""
        published = self.engine.inspect(self.container)["NetworkSettings"].get("Ports") or {}
        with contextlib.suppress(LookupError, TypeError, ValueError):
            http, grpc, metrics = (int(published[f"{p}/tcp"][0]["HostPort"]) for p in PORTS)
            self._ports = (http, grpc, metrics)

    def _check_release(self) -> None:
        try:
            answer, _ = Endpoint(self.http).call("GET", version.PATH, timeout=10)
            other = version.other(version.told(answer), self._expected)
        except (UnreachableError, RefusedError, ValueError) as e:
            raise self._failed(f"the container's server is no Triton: {e}") from e
        if other:
            raise InputError(
                "the image holds another Triton than the target's",
                where=self._where,
                found=f"{other['found']} in {self.image.name}",
                expected=other["expected"],
                fix="set the target's `image` to one of its release, or its `triton` to the "
                "image's release",
            )

    def _check_gpu(self) -> None:
        """Raises where its plans would not load, or where it cannot use the GPUs that it has.

        What it is proven on is part of its name then.

        Raises:
            InputError: the image has another TensorRT than the plans'.
            MissingError: a GPU has no plan, or CUDA cannot use it.
        """
        found = self.gpus()
        if self._plans:
            told = self.engine.inside(self.container, inside.TENSORRT)
            self._plans.check(inside.tensorrt(told), found, self.image.name)
        logs.await_start(self)
        refused = NO_CUDA.search(self.log())
        if refused:
            cause = causes.of(refused["why"])
            raise MissingError(
                "the container was given a GPU that its server cannot use",
                where=self._where,
                found=refused["why"],
                expected=cause.expected if cause else "a GPU that CUDA can use",
                fix=cause.fix if cause else "see what `nvidia-smi` says in the container",
            )
        self.name = ", ".join(filter(None, (self.name, gpus.named(found))))

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
            if self.guard is not None and self.guard.dismiss():
                said = self._removal.text().strip() if self._removal else ""
                self._say(
                    f"{self.container} could not be removed ({said}); "
                    f"{self.engine.kind} rm --force {self.container} does it"
                )
        finally:
            for program in (self._following, self._waiting):
                if program is not None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        program.wait(SETTLING)
                    program.kill()
                    program.wait()
            for output in (self._output, self._removal):
                if output is not None:
                    output.close()


def _shown(size: int | None) -> str:
    return "none" if size is None else f"{size / 1e9:g} GB"
