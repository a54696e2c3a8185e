"""How a server's container is made: with mounts, or with copies where the engine sees no mounts.

What it may do is for `isolation`; starting and watching it, for `server`.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from builder.errors import MissingError
from builder.servers import options
from builder.servers.containers import folders, isolation, owner
from builder.servers.containers.isolation import REPOSITORIES, Wanted
from builder.servers.containers.trouble import NOT_SHARED, trouble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builder.servers.containers.engine import Engine, Image
    from builder.servers.launch import Launch
    from builder.spec.target import Container

PORTS = (8000, 8001, 8002)
"""Inside: HTTP, gRPC, metrics."""
ANYWHERE = "0.0.0.0"  # noqa: S104 - inside; outside, the engine publishes it where it is told


@dataclass(frozen=True)
class Creation:
    """What is to be made.

    Attributes:
        engine: what makes it.
        image: what it is made of.
        name: what it is called.
        repositories: Triton model repositories that it is given.
        launch: how its server is started.
        limits: what it may have.
        gpu: whether it gets GPUs.
        about: for messages: see `trouble`.
    """

    engine: Engine
    image: Image
    name: str
    repositories: Sequence[Path]
    launch: Launch
    limits: Container
    gpu: bool
    about: Mapping[str, str]

    def make(self) -> None:
        """By mounts where the engine sees this machine's folders; else what they hold is copied."""
        if not self.engine.host and isolation.mountable(self.repositories):
            done = self.engine.attempt(*self._arguments(copied=False))
            if not done.code:
                return
            if not any(words in done.err.lower() for words in NOT_SHARED):
                raise trouble(self.engine.kind, done, **self.about)
            owner.remove(self.engine, self.name)
        done = self.engine.attempt(*self._arguments(copied=True))
        if done.code:
            raise trouble(self.engine.kind, done, **self.about)
        into = f"{self.name}:{REPOSITORIES}"
        # else the user's own
        as_it_is = ["--archive=false"] if self.engine.kind == "podman" else []
        done = self.engine.attempt(
            "cp",
            *as_it_is,
            "-",
            into,
            seconds=None,
            feed=lambda pipe: folders.pack(self.repositories, pipe),
        )
        if done.code:
            raise trouble(self.engine.kind, done, **self.about)

    def _arguments(self, *, copied: bool) -> list[str]:
        places = [PurePosixPath(REPOSITORIES, str(n)) for n in range(len(self.repositories))]
        command = options.options(places, ANYWHERE, PORTS, self.launch, gpu=self.gpu)
        wanted = Wanted(
            name=self.name,
            image=self.image.id,
            labels={owner.LABEL: owner.Owner.me().label},
            command=["tritonserver", *command],
            publish=self._published_on(),
            ports=dict(zip(PORTS, self.launch.ports or (None, None, None), strict=True)),
            folders={str(p): f for p, f in zip(places, self.repositories, strict=True)},
            copied=copied,
            user=isolation.user(
                (os.geteuid(), os.getegid()),
                rootless=self.engine.rootless,
                copied=copied,
                readable=copied or all(map(folders.readable, self.repositories)),
            ),
            limits=self.limits,
            gpu=self.gpu,
        )
        return isolation.arguments(self.engine.kind, wanted)

    def _published_on(self) -> str:
        """The engine's own address, so that nobody else's interface has the ports."""
        try:
            return socket.gethostbyname(self.engine.address)
        except OSError as e:
            raise MissingError(
                "the engine's machine has no address",
                where=self.engine.host,
                found=e,
                fix="check the name, or use an engine of this machine",
            ) from e
