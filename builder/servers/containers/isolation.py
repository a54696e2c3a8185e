"""How a container is kept in: what it is created with, as the arguments of each engine. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builder.servers.containers.command import Kind
    from builder.spec.target import Container

REPOSITORIES = "/repositories"
"""Where the container has the repositories; what holds them all where they are copied."""
NOBODY = "1000:1000"
"""Triton's own user in NVIDIA's images, `triton-server`."""
ROOT = "0:0"
TMP = "/tmp"  # noqa: S108 - the container's
UNPRINTABLE = ',"\n'
"""What cannot be in the path of a mount: the engines read it as CSV, each in its own way."""


@dataclass(frozen=True)
class Wanted:
    """A container to be.

    Attributes:
        name: its name.
        image: what it runs.
        labels: by name.
        command: what is run, with its arguments.
        publish: where its ports appear, an address of the engine's machine.
        ports: these, and which it gets there; None is one that the engine picks.
        folders: on this machine, by place in the container; read-only there.
        copied: whether the folders are copied into it, rather than mounted.
        user: who runs it, `UID:GID`.
        limits: what it may have.
        gpu: whether it gets GPUs.
    """

    name: str
    image: str
    labels: Mapping[str, str]
    command: Sequence[str]
    publish: str
    ports: Mapping[int, int | None]
    folders: Mapping[str, Path]
    copied: bool
    user: str
    limits: Container
    gpu: bool = False


def arguments(kind: Kind, wanted: Wanted) -> list[str]:
    """`create` and what follows, for an engine of that kind."""
    limits = wanted.limits
    return [
        "create",
        f"--name={wanted.name}",
        *(f"--label={name}={value}" for name, value in wanted.labels.items()),
        "--pull=never",  # it is there; else it would be pulled where nobody is told
        *(
            f"--publish={_host(wanted.publish)}:{there or ''}:{port}"
            for port, there in wanted.ports.items()
        ),
        *_mounts(wanted),
        *([f"--memory={limits.memory}"] if limits.memory else []),
        f"--shm-size={limits.shm_size}",
        f"--pids-limit={limits.pids}",
        "--read-only",
        f"--tmpfs={TMP}:exec,mode=1777",  # a model's own environment is unpacked and run there
        f"--user={wanted.user}",
        f"--env=HOME={TMP}",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--log-driver=json-file",  # one that can be read, whatever the engine's own default
        *(_PODMAN if kind == "podman" else ()),
        *(gpus(kind, limits.gpus or "all") if wanted.gpu else ()),
        wanted.image,
        *wanted.command,
    ]


_PODMAN = (
    "--http-proxy=false",  # else the user's, which may hold a password
    "--read-only-tmpfs=false",
    "--security-opt=label=disable",  # SELinux would hide the repositories, or have them relabelled
)


def mountable(folders: Sequence[Path]) -> bool:
    """Whether a mount can say these paths."""
    return not any(sign in str(folder) for folder in folders for sign in UNPRINTABLE)


def user(ours: tuple[int, int], *, rootless: bool, copied: bool, readable: bool) -> str:
    """Who the server is to be, so that it reads the repositories and is not root where it can be.

    Args:
        ours: this process's user and group.
        rootless: root in a container is not the machine's, but this very user.
        copied: the repositories are copied, for anybody to read.
        readable: anybody may read them as they are.
    """
    if copied:
        return NOBODY
    if rootless:
        return ROOT
    if ours[0]:
        return f"{ours[0]}:{ours[1]}"
    return NOBODY if readable else ROOT


def _mounts(wanted: Wanted) -> list[str]:
    if wanted.copied:  # a volume, since nothing can be copied into a read-only root
        return [f"--mount=type=volume,dst={REPOSITORIES}"]
    return [
        f"--mount=type=bind,src={folder.absolute()},dst={place},readonly"
        for place, folder in wanted.folders.items()
    ]


def gpus(kind: Kind, wanted: str) -> list[str]:
    """Options that give a container GPUs: `all`, or numbers or UUIDs with commas between."""
    if kind == "podman":
        return [f"--device=nvidia.com/gpu={gpu}" for gpu in wanted.split(",")]
    if wanted == "all":
        return ["--gpus=all"]
    return [f'--gpus="device={wanted}"']  # quoted: it is CSV


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
