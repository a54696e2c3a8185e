"""An agent in a process of its own, as in a pod; and what restarts a Triton that died."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Self

import psutil

from builder.servers import ports
from builder.servers.embedded.server import EmbeddedServer
from builder.servers.launch import Launch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from builder.servers.server import Server
    from tests.agent.zoo import Store

PATIENCE = 60.0


class Sidecar:
    """`triton-builder agent`, following `prod`.

    Args:
        server: the Triton; it need not run yet.
        folder: DIR.
        store: where the channel is.
        options: further ones.
    """

    def __init__(self, server: Server, folder: Path, store: Store, *options: str) -> None:
        self.port = ports.pick()[0]
        command = [sys.executable, "-m", "builder", "agent", "prod", str(folder)]
        command += [f"--store={store.url}", f"--http={server.http}", f"--grpc={server.grpc}"]
        command += ["--interval=100ms", f"--port={self.port}", "--json", *options]
        self.events: list[dict] = []
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._threads = [threading.Thread(target=t, daemon=True) for t in (self._read, self._err)]
        self.errors: list[str] = []
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _read(self) -> None:
        for line in self._process.stdout:
            self.events.append(json.loads(line))

    def _err(self) -> None:
        self.errors += list(self._process.stderr)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        self._process.stdout.close()
        self._process.stderr.close()

    def stop(self) -> int:
        self._process.terminate()
        code = self._process.wait(30)
        self.kill()
        return code

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def get(self, path: str) -> tuple[int, str]:
        """A page of its own HTTP server; 0 where it does not answer."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=10
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.read().decode()
        except OSError:
            return 0, ""

    def metrics(self) -> dict[str, float]:
        _, text = self.get("/metrics")
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name.removeprefix("triton_builder_agent_"): float(value) for name, value in rows}

    def wait(self, event: str, **fields: object) -> dict:
        """An event, once it was said."""

        def said() -> dict | None:
            matching = (e for e in self.events if e["event"] == event)
            return next((e for e in matching if fields.items() <= e.items()), None)

        return wait(said, lambda: f"{event} {fields} in {self.events} {self.errors}")


def wait(condition: Callable[[], object], what: Callable[[], str] = lambda: "it") -> object:
    """Waits until something holds; gives it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what()}")


class Kubelet:
    """Runs a Triton on a folder, with all that is in it, and starts it anew when it has died."""

    def __init__(self, installation, folder: Path, *, preload: bool = True) -> None:
        self._make = lambda: EmbeddedServer(
            installation, [folder], Launch(preload=preload, ports=self._ports)
        )
        self._ports = ports.pick()
        self._stop = threading.Event()
        self.starts = 0
        self.server = self._make()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def http(self) -> str:
        return f"{ports.HOST}:{self._ports[0]}"

    @property
    def grpc(self) -> str:
        return f"{ports.HOST}:{self._ports[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        wait(lambda: self.starts)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.server = self._make()
                with self.server:
                    self.starts += 1
                    while self.server.alive() and not self._stop.wait(0.05):
                        pass
            except Exception as e:  # noqa: BLE001 - as a kubelet: again, in a moment
                print(f"the server did not start: {e}")
            self._stop.wait(0.5)

    def crash(self) -> None:
        """Kills the server, if it runs."""
        process = self.server._server
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
