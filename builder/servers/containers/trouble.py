"""What a container engine means when it refuses: docker's, podman's and nerdctl's words."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from builder.errors import BuilderError, InputError, MissingError, WorkFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.servers.containers.engine import Done, Kind

CHOICE = "TRITON_BUILDER_ENGINE"
HOSTS: Mapping[Kind, str] = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}
"""The variables that say where an engine is; nerdctl's is always here."""

DOWN = (
    "cannot connect to the docker daemon",
    "unable to connect to podman",
    "cannot connect to podman",
    "permission denied while trying to connect",
    "connection refused",
    "cannot access containerd socket",
    "is the docker daemon running",
    "rootless containerd not running",
)
NO_GPU = (
    "could not select device driver",
    "nvidia-container-cli",
    "cdi device",
    "nvidia.com/gpu",
    "nvidia-container-runtime",
    "no known gpu vendor",
    "invalid runtime name: nvidia",
    "unknown runtime specified nvidia",
)
NO_SUCH_GPU = ("unknown device", "invalid device", "device not found")
OLD_DRIVER = re.compile(r"unsatisfied condition: (?P<wanted>(?:cuda|driver) ?>= ?[\d.]+)")
NAMING = ("image", "pull", "create")
"""The commands that may find that there is no image."""
NO_IMAGE = (
    "no such image",
    "image not known",
    "manifest unknown",
    "pull access denied",
    "unauthorized",
    "initializing source",
    "failed to resolve reference",
    "no such host",
    "repository does not exist",
    "name unknown",
    "not found",
)
NO_PROGRAM = ("executable file not found", "exec: no such file")
NO_MEMORY = ("out of memory", "oom-killed", "cannot allocate memory", "memory limit too low")
NOT_YET = "a container that has stopped"
"""Of one whose first process was gone before it was let run: killed, if its memory is limited."""
NO_SPACE = ("no space left on device", "disk quota exceeded")
TAKEN = ("port is already allocated", "address already in use", "port is already in use")
NOT_SHARED = ("bind source path does not exist", "statfs", "mounts denied")
"""Of a folder that the engine's machine does not have."""
NOISE = re.compile(r".*(systemd connection|level=warning).*\n?")
"""What podman says where there is no systemd, and nobody needs to read."""


def trouble(  # noqa: PLR0911 - one a meaning
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
    about = {"where": where or kind, "detail": said}
    if is_down(said) and "pinging container registry" not in said:
        return silent([done])
    old = OLD_DRIVER.search(said)
    if old:
        return MissingError(
            "the NVIDIA driver is too old for the image",
            found=f"not {old['wanted']}",
            expected="a driver of the branch that the release asks for (triton-builder releases "
            "--triton)",
            fix="update the driver of the engine's machine (nvidia-smi shows its version), or set "
            "the target's `triton` and `image` to an older release",
            **about,
        )
    if _any(NO_GPU, said) and _any(NO_SUCH_GPU, said):
        return MissingError(
            "the container engine has not the GPU that was asked for",
            found=f"{kind} refused it",
            expected="a number or UUID that `nvidia-smi -L` shows, or all",
            fix="correct `gpus` of the target's `container`",
            **about,
        )
    if _any(NO_GPU, said):
        return MissingError(
            "the container engine has no GPU to give",
            found=f"{kind} refused it",
            expected="a GPU, its driver, and the NVIDIA Container Toolkit",
            fix="nvidia-smi shows whether there is a GPU; then, for podman: nvidia-ctk cdi generate"
            " --output=/etc/cdi/nvidia.yaml; for docker: nvidia-ctk runtime configure",
            **about,
        )
    if _any(NO_MEMORY, said) or (memory and NOT_YET in said):
        return WorkFailedError(
            "the container is out of memory",
            found=memory or None,
            expected="memory for the server and all its models",
            fix="raise `memory` of the target's `container`, or leave it out",
            **about,
        )
    if _any(NO_SPACE, said):
        return MissingError(
            "the container engine's disk is full",
            fix=f"{kind} system prune removes what is not in use",
            **about,
        )
    if _any(TAKEN, said):
        return InputError(
            "a port is taken on the engine's machine",
            expected="ports that are free there",
            fix="choose other ports, or none: free ones are picked then",
            **about,
        )
    if _any(NO_PROGRAM, said):
        return InputError(
            "the image holds no tritonserver",
            found=image,
            expected="an image as nvcr.io/nvidia/tritonserver has them",
            fix="set the target's `image` to one of its release",
            **about,
        )
    if image and done.command[1] in NAMING and _any(NO_IMAGE, said):
        return MissingError(
            "the server's image is not here, and cannot be pulled",
            found=image,
            expected="an image that the engine has, or gets from its registry",
            fix=f"see whether this does: {kind} pull {image}; or set the target's `image` to one "
            "that you have",
            **about,
        )
    return WorkFailedError(
        "the container engine refused",
        found=" ".join((kind, *done.command[1:2])),
        fix="mend what it says below",
        **about,
    )


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
    return _any(DOWN, said)


def _any(words: Sequence[str], text: str) -> bool:
    lower = text.lower()
    return any(one in lower for one in words)
