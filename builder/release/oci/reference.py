"""Where an OCI release goes.

A registry's repository is `HOST[:PORT]/NAME[:TAG]`; a folder is `./PATH[:TAG]`, or, as skopeo
writes it, `oci:PATH[:TAG]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from builder.errors import InputError

FOLDER = ("/", "./", "../", "~")
PREFIXES = ("https://", "http://", "docker://", "oci://")
DOCKER = {"docker.io", "index.docker.io"}
LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?")

_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,117}"  # of 128: the artifact's has a suffix
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_REFERENCE = re.compile(rf"({_HOST})/({_PART}(?:/{_PART})*)(?::({_TAG}))?")

EXPECTED = "HOST[:PORT]/NAME[:TAG] of a registry, or a folder: ./PATH[:TAG]"


@dataclass(frozen=True)
class FolderReference:
    """An OCI image layout; `tag` is None where none was named."""

    path: Path
    tag: str | None

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class RegistryReference:
    """A repository of a registry.

    Attributes:
        host: with its port, where it has one of its own.
        name: of the repository.
        tag: None where none was named.
        plain: without TLS: what is on this machine, or was written `http://`.
    """

    host: str
    name: str
    tag: str | None
    plain: bool

    def __str__(self) -> str:
        return f"{self.host}/{self.name}"

    @property
    def endpoint(self) -> str:
        """Where the host answers: Docker's own has another name for that."""
        return "registry-1.docker.io" if self.host in DOCKER else self.host


def parse(text: str) -> FolderReference | RegistryReference:
    """Reads a reference.

    Raises:
        InputError: it is none, or one that nothing can be pushed to.
    """
    if text.startswith("oci:") and not text.startswith("oci://"):
        return _folder(text.removeprefix("oci:"))
    if text.startswith(FOLDER):
        return _folder(text)
    prefix = next((p for p in PREFIXES if text.startswith(p)), "")
    match = _REFERENCE.fullmatch(text.removeprefix(prefix))
    if "@" in text:  # a digest, or a password: then it must not be repeated
        raise InputError(
            "nothing can be pushed to a digest, and no credentials belong in a reference",
            where="--oci",
            expected=EXPECTED,
            fix="name a tag; log in with docker, podman, skopeo or oras",
        )
    if not match:
        raise InputError("no reference", where="--oci", found=text, expected=EXPECTED)
    host, name, tag = match.groups()
    if not re.search(r"[.:]", host) and host != "localhost":
        raise InputError(
            "a registry is named by its host",
            where="--oci",
            found=text,
            expected=EXPECTED,
            fix=f"docker.io/{host}/{name} for Docker's own; ./{host}/{name} for a folder",
        )
    plain = prefix == "http://" or (prefix != "https://" and bool(LOOPBACK.fullmatch(host)))
    return RegistryReference(host, name, tag, plain)


def _folder(text: str) -> FolderReference:
    match = re.fullmatch(rf"(.+?)(?::({_TAG}))?", text)
    if not match:
        raise InputError("no folder", where="--oci", found=text, expected=EXPECTED)
    return FolderReference(Path(match[1]).expanduser(), match[2])
