"""Who we are to a registry: what `docker login`, `podman login`, `skopeo` and `oras` leave behind.

Read are, in this order: the file that $REGISTRY_AUTH_FILE names, and no other then; podman's
$XDG_RUNTIME_DIR/containers/auth.json; docker's, in $DOCKER_CONFIG or ~/.docker/config.json. A
file's credential helpers are asked as docker asks them. Nothing of it is ever shown.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import InputError, MissingError
from builder.release.oci.reference import DOCKER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.release.oci.reference import RegistryReference

PATIENCE = 30.0
"""Seconds that a credential helper may take."""

DOCKER_LOGIN = "https://index.docker.io/v1/"
"""What docker calls its own registry there."""

BY_TOKEN = "<token>"  # noqa: S105 - what helpers answer as the name when the secret is a token


@dataclass(frozen=True)
class Credentials:
    """A name and a password, or a token that a registry's own login gave; never shown."""

    name: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header; empty without a password."""
        if not self.name or not self.password:
            return ""
        return "Basic " + base64.b64encode(f"{self.name}:{self.password}".encode()).decode()

    def without(self, text: str) -> str:
        """A text that none of the secrets is in any more."""
        for secret in (self.password, self.token, self.basic.removeprefix("Basic ")):
            text = text.replace(secret, "…") if secret else text
        return text


NOBODY = Credentials()


def credentials(reference: RegistryReference) -> Credentials:
    """What there is for a registry; `NOBODY` where there is nothing.

    Raises:
        InputError: a file of credentials cannot be read.
        MissingError: a credential helper is missing, or fails.
    """
    for file in _files():
        found = _of(file, reference)
        if found:
            return found
    return NOBODY


def _files() -> Iterator[Path]:
    named = os.environ.get("REGISTRY_AUTH_FILE")
    if named:
        yield Path(named)
        return
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield Path(runtime) / "containers" / "auth.json"
    yield Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def _of(file: Path, reference: RegistryReference) -> Credentials | None:
    try:
        value = json.loads(file.read_bytes())
        auths = {_key(name): own for name, own in dict(value.get("auths") or {}).items()}
        helpers = {_key(name): own for name, own in dict(value.get("credHelpers") or {}).items()}
        store = value.get("credsStore")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as e:
        raise InputError(
            "the file of registry credentials cannot be read",
            where=str(file),
            found=getattr(e, "strerror", None) or "not the JSON that docker writes",
            fix="log in again",
        ) from e
    for place in _places(reference):
        if place in helpers:
            return _asked(str(helpers[place]), reference)
    found = next((_decoded(auths[p], file) for p in _places(reference) if p in auths), None)
    return found or (_asked(str(store), reference) if store else None)


def _key(name: str) -> str:
    """A file's name for a registry: docker writes some as URLs."""
    bare = name.removeprefix("https://").removeprefix("http://").rstrip("/")
    return bare.removesuffix("/v1").removesuffix("/v2")


def _places(reference: RegistryReference) -> Iterator[str]:
    """The names that could hold it, the narrowest first, as podman looks them up."""
    place = f"{reference.host}/{reference.name}"
    while place != reference.host:
        yield place
        place = place.rpartition("/")[0]
    yield reference.host
    if reference.host in DOCKER:
        yield "index.docker.io"


def _decoded(own: Any, file: Path) -> Credentials | None:
    try:
        if own.get("identitytoken"):
            return Credentials(token=str(own["identitytoken"]))
        name, _, password = base64.b64decode(own.get("auth") or "").decode().partition(":")
        name, password = own.get("username") or name, own.get("password") or password
    except (ValueError, TypeError, AttributeError) as e:
        raise InputError(
            "an entry of the registry credentials cannot be read", where=str(file),
            expected="what docker writes", fix="log in again",
        ) from e  # fmt: skip
    return Credentials(name, password.rstrip("\0")) if name else None


def _asked(helper: str, reference: RegistryReference) -> Credentials | None:
    """What a credential helper answers."""
    program = f"docker-credential-{helper}"
    host = DOCKER_LOGIN if reference.host in DOCKER else reference.host
    try:
        done = subprocess.run(
            [program, "get"], input=host, capture_output=True, text=True, check=False,
            timeout=PATIENCE,
        )  # fmt: skip
        if done.returncode:
            if "credentials not found" in done.stdout + done.stderr:
                return None
            raise _helpless(program, f"it failed with {done.returncode}")
        answer = json.loads(done.stdout)
        name, secret = str(answer["Username"]), str(answer["Secret"])
    except FileNotFoundError as e:
        raise _helpless(program, "no such program") from e
    except subprocess.TimeoutExpired as e:
        raise _helpless(program, f"no answer in {PATIENCE:g} s") from e
    except (ValueError, KeyError, TypeError) as e:
        raise _helpless(program, "an answer that is not what docker expects") from e
    return Credentials(token=secret) if name == BY_TOKEN else Credentials(name, secret)


def _helpless(program: str, found: str) -> MissingError:
    return MissingError(
        "the credential helper of the registry's login does not help",
        where=program,
        found=found,
        fix="install it, log in again, or name another file in REGISTRY_AUTH_FILE",
    )
