"""A real registry: Debian's docker-registry, on a free port, with its data in a folder of its own.

A test module that wants one says `pytest_plugins = ["tests.release.oci.fixture"]` and takes the
fixture `registry`, or starts others with `serving`. `skopeo` is another real client.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests import debian

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"
PATIENCE = 30.0
USER, PASSWORD = "tester", "correct-horse"
HTPASSWD = f"{USER}:$2b$04$WbQbrB5UGF0GAM6zMMVZAehFfiMX.KGaBIneNVYVVPr2RcA.KASL6\n"
"""The password as the registry wants it: bcrypt."""


class Registry:
    """A registry's process.

    Args:
        data: a folder for what it keeps.
        more: settings beside storage and address, by section.
        tls: certificate and key, for HTTPS.
    """

    def __init__(
        self,
        data: Path,
        more: dict[str, object] | None = None,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        with socket.socket() as free:
            free.bind((HOST, 0))
            self.port: int = free.getsockname()[1]
        self.host = f"{HOST}:{self.port}"
        self._data = data
        http: dict[str, object] = {"addr": self.host}
        if tls:
            http["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
        self._scheme = "https" if tls else "http"
        (data / "blobs").mkdir(parents=True)
        settings = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(data / "blobs")}},
            "http": http,
            **(more or {}),
        }
        (data / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        with (self._data / "out").open("ab") as out:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(self._data / "config.yml")], stdout=out, stderr=out
            )
        deadline = time.monotonic() + PATIENCE
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._data / "out").read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        """Kills it; what it had stored is there again after `start`."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def get(self, path: str, accept: str = "*/*") -> bytes:
        """The body at a path below `/v2/`."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self._scheme}://{self.host}/v2/{path}", headers={"Accept": accept}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            body: bytes = answer.read()
        return body

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1):
            return True
        return False


@contextlib.contextmanager
def serving(data: Path, more: dict[str, object] | None = None, tls=None) -> Iterator[Registry]:
    """A registry that runs until the end of the block."""
    provide()
    server = Registry(data, more, tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def provide() -> None:
    """The registry and skopeo, from Debian's packages where they are missing."""
    if os.geteuid() != 0:
        pytest.skip("a registry from Debian's packages needs root to install it")
    debian.provide(["docker-registry", "skopeo"], ["docker-registry", "skopeo"])


def skopeo(*command: str) -> str:
    """Runs skopeo, without TLS where it is on this machine."""
    provide()
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"skopeo {' '.join(command)}: {done.stderr}"
    return done.stdout
