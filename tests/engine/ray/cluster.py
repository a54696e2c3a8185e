"""A Ray cluster of nodes on this machine, each with a cache of its own, as machines would have.

python -m tests.engine.ray.cluster FOLDER [NODES]     runs one until it is interrupted
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

OBJECTS = 80_000_000


@dataclass
class Node:
    """One node: `ray start --block` and all that comes of it."""

    name: str
    cache: Path
    process: subprocess.Popen

    def built(self):
        """Ids of the actions whose records this node's store holds."""
        from builder.store.records import Records

        records = Records(self.cache / "store" / "actions")
        return {record.ingredients["stage"] for key, _ in records for record in records.of(key)}

    def working(self):
        """Whether a worker of ours runs on this node."""
        return any("spawn_main" in word for p in self._family() for word in words(p))

    def kill(self):
        """All of the node's processes at once, as when the plug is pulled."""
        family = self._family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=10)
        self.process.wait()

    def _family(self):
        try:
            top = psutil.Process(self.process.pid)
            return [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class Cluster:
    """A head and other nodes, one core each; gone when the block is left.

    Nobody but who has `key` in the environment may use it: Ray listens on all addresses.
    """

    def __init__(self, folder, servers=None):
        self.folder = folder
        self.servers = servers
        self.nodes = []
        self._sockets = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # 107 bytes a path
        self._port = _free_port()
        self.address = f"127.0.0.1:{self._port}"
        self.client = f"ray://127.0.0.1:{_free_port()}"
        folder.mkdir(parents=True, exist_ok=True)
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        self.key = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}

    def __enter__(self):
        try:
            client = self.client.rpartition(":")[2]
            self.add(
                "head",
                *("--head", f"--port={self._port}", f"--ray-client-server-port={client}"),
                *("--include-dashboard=false", f"--temp-dir={self._sockets}"),
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def add(self, name, *options, cores=1, environment=None):
        """Starts a node; returns it when the cluster knows it."""
        cache = self.folder / f"cache-{name}"
        cache.mkdir(parents=True, exist_ok=True)
        if self.servers:
            (cache / "servers").symlink_to(self.servers)
        place = (f"--address={self.address}",) if self.nodes else ()
        log = (self.folder / f"{name}.log").open("wb")
        process = subprocess.Popen(
            [
                Path(sys.executable).parent / "ray",
                *("start", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1"),
                *(f"--num-cpus={cores}", f"--object-store-memory={OBJECTS}", *place, *options),
            ],
            env={
                **os.environ,
                **self.key,
                "GRPC_ENABLE_FORK_SUPPORT": "0",  # Ray's client server forks under gRPC's feet
                "TRITON_BUILDER_CACHE": str(cache),
                **(environment or {}),
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        node = Node(name, cache, process)
        self.nodes.append(node)
        self._await_nodes(len(self.nodes))
        return node

    def _await_nodes(self, count, seconds=180, patience=30):
        """Ray's own record of who has joined; asked outside of this process.

        Who asks before the head listens may wait for ever, so that asking is begun anew.
        """
        script = (
            "import sys, time; from ray._raylet import GcsClient\n"
            "client = GcsClient(address=sys.argv[1])\n"
            "def alive(): return [n for n in client.get_all_node_info().values() if n.state == 0]\n"
            "while len(alive()) < int(sys.argv[2]): time.sleep(.05)"
        )
        end = time.monotonic() + seconds
        while True:
            command = [sys.executable, "-c", script, self.address, str(count)]
            done = subprocess.run(
                ["timeout", str(patience), *command],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, **self.key},
            )
            if done.returncode == 0:
                return
            if time.monotonic() > end or self.nodes[-1].process.poll() is not None:
                log = (self.folder / f"{self.nodes[-1].name}.log").read_text()
                raise RuntimeError(f"no node: {log[-2000:]} {done.stderr[-2000:]}")


def words(process):
    """A process's command line; nothing of one that has just ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    with Cluster(Path(sys.argv[1])) as shown:
        for number in range(1, int((sys.argv[2:] or ["2"])[0])):
            shown.add(f"node{number}")
        print(shown.address, shown.client, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
