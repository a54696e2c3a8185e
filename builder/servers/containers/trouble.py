"""What a container engine means when it refuses: docker's, podman's and nerdctl's words."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder.errors import BuilderError, InputError, MissingError, WorkFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.servers.containers.command import Done, Kind

CHOICE = "TRITON_BUILDER_ENGINE"
HOSTS: Mapping[Kind, str] = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}
"""The variables that say where an engine is; nerdctl's is always here."""

DOWN = re.compile(
    r"cannot connect to the docker daemon|unable to connect to podman|cannot connect to podman"
    r"|permission denied while trying to connect|connection refused"
    r"|cannot access containerd socket|is the docker daemon running"
    r"|rootless containerd not running",
    re.IGNORECASE,
)
REGISTRY = "pinging container registry"
"""Podman's, where it is a registry that refuses the connection."""

NOT_SHARED = ("bind source path does not exist", "statfs", "mounts denied")
"""Of a folder that the engine's machine does not have."""
NOISE = re.compile(r".*(systemd connection|level=warning).*\n?")
"""What podman says where there is no systemd, and nobody needs to read."""


@dataclass(frozen=True)
class _Known:
    """Words, and what they mean. Texts are filled in with what is known and the groups of `words`.

    Attributes:
        words: patterns that all must be found, whatever the case.
        error: its class, which decides the exit code.
        problem, found, expected, fix: its parts.
        about: what must be known besides: `image`, `memory`.
        commands: those that it is about; any, where none is named.
    """

    words: tuple[str, ...]
    error: type[BuilderError]
    problem: str
    found: str
    expected: str
    fix: str
    about: str = ""
    commands: tuple[str, ...] = ()

    def read(self, said: str, known: Mapping[str, str], where: str) -> BuilderError | None:
        """The error, where these are the words."""
        if self.about and not known[self.about]:
            return None
        if self.commands and known["command"] not in self.commands:
            return None
        texts = dict(known)
        for words in self.words:
            match = re.search(words, said, re.IGNORECASE)
            if match is None:
                return None
            texts |= match.groupdict()
        return self.error(
            self.problem,
            where=where,
            found=self.found.format(**texts).strip() or None,
            expected=self.expected or None,
            fix=self.fix.format(**texts),
            detail=said,
        )


NO_GPU = (
    r"could not select device driver|nvidia-container-cli|cdi device|nvidia\.com/gpu"
    r"|nvidia-container-runtime|no known gpu vendor|invalid runtime name: nvidia"
    r"|unknown runtime specified nvidia"
)
NO_IMAGE = (
    r"no such image|image not known|manifest unknown|pull access denied|unauthorized"
    r"|initializing source|failed to resolve reference|no such host|repository does not exist"
    r"|name unknown|not found"
)
NO_PROGRAM = r"executable file (?:\S+ )?not found|exec: no such file"
"""Of a command that an image has not: runc's words, and crun's, which put its name in between."""

OUT_OF_MEMORY = _Known(
    (r"out of memory|oom-killed|cannot allocate memory|memory limit too low",),
    WorkFailedError,
    "the container is out of memory",
    "{memory}",
    "memory for the server and all its models",
    "raise `memory` of the target's `container`, or leave it out",
)

_KNOWN = (
    _Known(
        (r"unsatisfied condition: (?P<wanted>(?:cuda|driver) ?>= ?[\d.]+)",),
        MissingError,
        "the NVIDIA driver is too old for the image",
        "not {wanted}",
        "a driver of the branch that the release asks for (triton-builder releases --triton)",
        "update the driver of the engine's machine (nvidia-smi shows its version), or set "
        "the target's `triton` and `image` to an older release",
    ),
    _Known(
        (NO_GPU, r"unknown device|invalid device|device not found"),
        MissingError,
        "the container engine has not the GPU that was asked for",
        "{kind} refused it",
        "a number or UUID that `nvidia-smi -L` shows, or all",
        "correct `gpus` of the target's `container`",
    ),
    _Known(
        (NO_GPU,),
        MissingError,
        "the container engine has no GPU to give",
        "{kind} refused it",
        "a GPU, its driver, and the NVIDIA Container Toolkit",
        "nvidia-smi shows whether there is a GPU; then, for podman: nvidia-ctk cdi generate"
        " --output=/etc/cdi/nvidia.yaml; for docker: nvidia-ctk runtime configure",
    ),
    OUT_OF_MEMORY,
    # its first process was gone before it was let run: killed, if its memory is limited
    replace(OUT_OF_MEMORY, words=(r"a container that has stopped",), about="memory"),
    _Known(
        (r"no space left on device|disk quota exceeded",),
        MissingError,
        "the container engine's disk is full",
        "",
        "",
        "{kind} system prune removes what is not in use",
    ),
    _Known(
        (r"port is already allocated|address already in use|port is already in use",),
        InputError,
        "a port is taken on the engine's machine",
        "",
        "ports that are free there",
        "choose other ports, or none: free ones are picked then",
    ),
    _Known(
        (NO_PROGRAM,),
        InputError,
        "the image holds no tritonserver",
        "{image}",
        "an image as nvcr.io/nvidia/tritonserver has them",
        "set the target's `image` to one of its release",
    ),
    _Known(
        (NO_IMAGE,),
        MissingError,
        "the server's image is not here, and cannot be pulled",
        "{image}",
        "an image that the engine has, or gets from its registry",
        "see whether this does: {kind} pull {image}; or set the target's `image` to one "
        "that you have",
        about="image",
        commands=("image", "pull", "create"),
    ),
    _Known(
        (),
        WorkFailedError,
        "the container engine refused",
        "{kind} {command}",
        "",
        "mend what it says below",
    ),
)
"""The first that goes counts; the last one always does."""


def trouble(
    kind: Kind, done: Done, *, image: str = "", where: str | None = None, memory: str = ""
) -> BuilderError:
    """What a refusal of the engine means.

    Args:
        kind: whose words they are.
        done: what was refused.
        image: the image that it is about.
        where: what names the image.
        memory: what the container may have.
    """
    said = NOISE.sub("", done.err).strip() or done.out.strip()
    if is_down(said) and REGISTRY not in said:
        return silent([done])
    command = "".join(done.command[1:2])
    known = {"kind": kind, "image": image, "memory": memory, "command": command}
    return next(error for one in _KNOWN if (error := one.read(said, known, where or kind)))


def silent(refused: Sequence[Done]) -> MissingError:
    """That engines are installed, and do not answer."""
    names = [done.command[0].rpartition("/")[2] for done in refused]
    return MissingError(
        f"{' and '.join(names)}: installed, but no engine answers",
        found=", ".join(os.environ[v] for v in HOSTS.values() if os.environ.get(v)) or None,
        expected="an engine that runs, and that you may use",
        fix="start it (systemctl start docker; podman needs no daemon), or join its group "
        "(usermod -aG docker $USER, then log in again); or name another one in "
        f"${CHOICE}",
        detail="\n".join(NOISE.sub("", done.err).strip() for done in refused),
    )


def is_down(said: str) -> bool:
    """Whether words say that no engine answers, or none that one may use."""
    return DOWN.search(said) is not None
