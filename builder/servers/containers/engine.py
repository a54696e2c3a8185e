"""A container engine's command line: docker, podman or nerdctl, whichever answers.

What the engine says when it refuses is `trouble`'s to translate. What a container is
allowed is `isolation`'s business, and what runs in it `server`'s.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from builder.errors import MissingError
from builder.servers.containers.command import PROMPT, Done
from builder.servers.containers.command import run as run_command
from builder.servers.containers.trouble import CHOICE, HOSTS, is_down, silent, trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from builder.servers.containers.command import Kind

KINDS: tuple[Kind, ...] = ("docker", "podman", "nerdctl")
LOOPBACK = ("127.0.0.1", "localhost", "::1")

INSTALL = (
    "install one (Debian, Ubuntu: apt-get install podman; https://docs.docker.com/engine/install), "
    "or use server = 'embedded'"
)


@dataclass(frozen=True)
class Image:
    """An image that the engine has.

    Attributes:
        name: what it was asked for as.
        id: what to run, so that it is this one whatever the name may come to mean.
        digest: names its content: as its registry does, or as the engine does where no registry has
            it.
    """

    name: str
    id: str
    digest: str


@dataclass(frozen=True)
class Engine:
    """An engine that answers.

    Attributes:
        kind: whose command line it is.
        program: the command.
        host: the address of an engine elsewhere, `tcp://…`; empty for this machine's.
        rootless: whether root in its containers is no root on their machine.
    """

    kind: Kind
    program: str
    host: str = ""
    rootless: bool = False

    def run(self, *arguments: str, about: Mapping[str, str] | None = None) -> str:
        """Runs a command that is done at once; gives its standard output.

        Args:
            arguments: after the program's name.
            about: what `trouble` is to know.

        Raises:
            BuilderError: it failed.
        """
        done = self.attempt(*arguments)
        if done.code:
            raise trouble(self.kind, done, **(about or {}))
        return done.out

    def attempt(
        self,
        *arguments: str,
        seconds: float | None = PROMPT,
        feed: Callable[[IO[bytes]], None] | None = None,
    ) -> Done:
        """Runs a command that may fail; it ends when the caller is interrupted.

        Args:
            arguments: after the program's name.
            seconds: how long it may take; None for as long as it takes.
            feed: writes what it reads.

        Raises:
            MissingError: it did not end in time.
        """
        return run_command((self.program, *arguments), seconds, feed)

    def inside(self, container: str, script: str) -> str:
        """What a shell in a container prints; nothing where it does not answer."""
        try:
            return self.attempt("exec", container, "sh", "-c", script).out
        except MissingError:
            return ""

    def image(self, name: str, say: Callable[[str], None], where: str) -> Image:
        """An image, pulled where the engine does not have it.

        Args:
            name: with its tag or its digest.
            say: told before it is pulled.
            where: what names it, for messages.

        Raises:
            MissingError: it is not to be had.
        """
        about = {"image": name, "where": where}
        found = self.attempt("image", "inspect", name)
        if found.code:
            if is_down(found.err):
                raise trouble(self.kind, found, **about)
            say(f"pulling {name}, once (NVIDIA's take some GB)")
            pulled = self.attempt("pull", "--quiet", name, seconds=None)
            if pulled.code:
                raise trouble(self.kind, pulled, **about)
            found = self.attempt("image", "inspect", name)
        try:
            facts = json.loads(found.out)[0]
            own = str(facts["Id"])
            names = [str(one) for one in facts.get("RepoDigests") or ()]
        except (ValueError, LookupError, TypeError) as e:
            raise trouble(self.kind, found, **about) from e
        return Image(name, own, digest(name, own, names))

    def inspect(self, container: str) -> dict[str, Any]:
        """All that the engine knows of a container.

        Raises:
            BuilderError: there is none.
        """
        out = self.run("inspect", container)
        try:
            facts: dict[str, Any] = json.loads(out)[0]
        except (ValueError, LookupError) as e:
            done = Done((self.program, "inspect"), 0, out, out)
            raise trouble(self.kind, done) from e
        return facts

    @property
    def address(self) -> str:
        """Where the containers' published ports are: of this machine's engine nobody else's.

        Raises:
            MissingError: the engine is elsewhere, and no address says where.
        """
        if not self.host:
            return LOOPBACK[0]
        parts = urlsplit(self.host)
        if parts.scheme not in ("tcp", "http", "https") or not parts.hostname:
            raise MissingError(
                "the ports of a container on such an engine cannot be reached",
                where=f"${HOSTS.get(self.kind, CHOICE)}",
                found=self.host,
                expected="a local socket, or tcp://HOST:PORT",
                fix="use an engine of this machine; or run tritonserver there yourself, and set "
                "server = 'remote'",
            )
        return LOOPBACK[0] if parts.hostname in LOOPBACK else parts.hostname


def find(environ: Mapping[str, str] = os.environ) -> Engine:
    """The engine that $TRITON_BUILDER_ENGINE names, or the first that answers.

    Raises:
        MissingError: none is installed, or none answers.
    """
    chosen = environ.get(CHOICE)
    names: Sequence[str] = (chosen,) if chosen else KINDS
    refused: list[Done] = []
    for name in names:
        program = shutil.which(name)
        if program is None:
            continue
        answer = _asked(str(Path(program).absolute()), environ)
        if isinstance(answer, Engine):
            return answer
        refused.append(answer)
    if refused:
        raise silent(refused)
    raise MissingError(
        "there is no container engine",
        where=f"${CHOICE}" if chosen else "PATH",
        found=chosen,
        expected="docker, podman or nerdctl",
        fix=INSTALL,
    )


def digest(name: str, own: str, others: Sequence[str]) -> str:
    """What names an image's content.

    Args:
        name: what it was asked for as; the digest in it counts, if there is one.
        own: the engine's own name for it.
        others: where registries have it, and as what: `nvcr.io/…@sha256:…`.
    """
    pinned = pin(name)
    if pinned:
        return pinned
    wanted = name.rpartition("/")[2].partition(":")[0]
    by_repository = [one.rpartition("@") for one in others]
    same = [d for repository, _, d in by_repository if repository.rpartition("/")[2] == wanted]
    found = sorted(same) or sorted(d for _, _, d in by_repository)
    return found[0] if found else f"sha256:{own.removeprefix('sha256:')}"


def pin(name: str) -> str | None:
    """The digest that an image's name holds, `…@sha256:…`."""
    found = name.rpartition("@")[2]
    return found if found.startswith("sha256:") else None


def _asked(program: str, environ: Mapping[str, str]) -> Engine | Done:
    """What a program is, or its words where it does not answer."""
    version = run_command((program, "--version"), PROMPT)
    kind: Kind = next((one for one in KINDS if one in version.out.lower()), "docker")
    if version.code or kind not in version.out.lower():
        return version
    template = "{{.Host.Security.Rootless}}" if kind == "podman" else "{{json .SecurityOptions}}"
    try:
        info = run_command((program, "info", "--format", template), PROMPT)
    except MissingError as e:
        return Done((program, "info"), 1, "", str(e))
    if info.code:
        return info
    rootless = info.out.strip() == "true" if kind == "podman" else "rootless" in info.out
    return Engine(kind, program, _elsewhere(kind, program, environ), rootless)


def _elsewhere(kind: Kind, program: str, environ: Mapping[str, str]) -> str:
    """The address of an engine that is not this machine's; empty where it is."""
    if kind == "docker":  # its contexts may say so as well as the variable
        template = "{{.Endpoints.docker.Host}}"
        host = run_command(
            (program, "context", "inspect", "--format", template), PROMPT
        ).out.strip()
    else:
        host = environ.get(HOSTS.get(kind, ""), "")
    local = not host or urlsplit(host).scheme in ("unix", "npipe", "fd")
    return "" if local else host
