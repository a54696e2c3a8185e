"""A real Azure Blob server: Microsoft's own Azurite, on Node, with its data in memory.

The package is installed once, in the user's cache. A test module that wants a server says
`pytest_plugins = ["tests.stores.azurite"]` and takes the fixture `azure`.
"""

from __future__ import annotations

import base64
import email.utils
import hmac
import http.client
import os
import re
import shutil
import subprocess
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from tests import debian

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"
VERSION = "3.35.0"  # the last one that runs on Debian 12's Node
MAIN = "node_modules/azurite/dist/src/blob/main.js"
PATIENCE = 60.0
LISTENS = re.compile(rf"listens on http://{re.escape(HOST)}:(\d+)")


class Azurite:
    """A server with the one account that all of its kind have.

    Attributes:
        port: where it listens.
        endpoint: the account's address.
    """

    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def __init__(self, package: Path, data: Path) -> None:
        self._log = data / "log"
        options = (f"--blobHost={HOST}", "--blobPort=0", "--inMemoryPersistence", "--silent",
                   "--skipApiVersionCheck", "--disableTelemetry")  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["node", str(package / MAIN), *options],
                cwd=data,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.port = self._listening()
        self.endpoint = f"http://{HOST}:{self.port}/{self.account}"

    def _listening(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while not (found := LISTENS.search(self._log.read_text())):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self._log.read_text())
            time.sleep(0.05)
        return int(found[1])

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()

    def bucket(self) -> str:
        """Makes a container, and gives its name."""
        name = f"container-{uuid.uuid4().hex[:12]}"
        headers = {
            "x-ms-date": email.utils.formatdate(usegmt=True),
            "x-ms-version": "2021-08-06",
        }
        signed = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        resource = f"/{self.account}/{self.account}/{name}\nrestype:container"
        text = "PUT" + "\n" * 12 + signed + resource
        digest = hmac.digest(base64.b64decode(self.key), text.encode(), "sha256")
        headers["Authorization"] = f"SharedKey {self.account}:{base64.b64encode(digest).decode()}"
        connection = http.client.HTTPConnection(HOST, self.port)
        connection.request("PUT", f"/{self.account}/{name}?restype=container", headers=headers)
        answer = connection.getresponse()
        if answer.status != http.client.CREATED:
            raise RuntimeError(answer.read().decode())
        connection.close()
        return name

    def environment(self, port: int | None = None) -> dict[str, str]:
        """What a client's environment says, to reach the server or a proxy before it."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": self.account,
            "AZURE_STORAGE_ACCOUNT_KEY": self.key,
            "AZURE_ENDPOINT": f"http://{HOST}:{port or self.port}/{self.account}",
            "AZURE_ALLOW_HTTP": "true",
        }


def package(cache: Path) -> Path:
    """Where Azurite is installed; installed where it is not yet, in half a minute.

    Raises:
        pytest.skip.Exception: it cannot be had here.
    """
    folder = cache / "test-stores" / f"azurite-{VERSION}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # two test runs install one
        if not folder.exists():
            debian.provide(["node", "npm"], ["nodejs", "npm"])
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            if unfinished.exists():
                shutil.rmtree(unfinished)
            options = ("--no-audit", "--no-fund", "--omit=optional", "--ignore-scripts")
            where = f"--prefix={unfinished}"
            debian.run("npm", "install", *options, where, f"azurite@{VERSION}")
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def azure(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """An Azure Blob server for the whole run."""
    if not shutil.which("node") and os.geteuid() != 0:
        pytest.skip("Azurite needs Node, and to install that needs root")
    server = Azurite(package(cache), tmp_path_factory.mktemp("azurite"))
    try:
        yield server
    finally:
        server.close()
