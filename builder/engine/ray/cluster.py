"""Connecting to a Ray cluster, or starting one on this machine that nobody else may use."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.errors import BuilderError, MissingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PATIENCE = 20
"""Seconds that a cluster's head may be away."""

CLIENT = "ray://"
"""How the address of a cluster that this machine is no part of begins."""

OBJECTS = 100_000_000
"""Bytes of a local Ray's object store. Nothing goes through it but records."""


@dataclass(frozen=True)
class Cluster:
    """How to come to a cluster.

    Attributes:
        address: `auto`, `host:port`, `ray://host:port`; None for one on this machine, which
            ends with the build.
        folder: where that keeps its sockets and logs; a short path.
        resources: what it offers beside its cores and GPUs.
    """

    address: str | None
    folder: Path
    resources: Mapping[str, float]


def connect(cluster: Cluster) -> None:
    """Connects this process to a cluster, or starts one.

    Raises:
        MissingError: Ray is not installed, or there is no such cluster, or one of another
            version.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.chdir(cluster.folder)  # Ray puts the working directory and the script's on the nodes' path
    sys.argv[:] = [sys.argv[0].rpartition("/")[2]]
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(PATIENCE))
    if cluster.address:
        _probe(cluster.address)
    else:
        _close(cluster.folder)  # before Ray is imported: it looks at the environment then
    try:
        import ray
    except ImportError as e:
        raise MissingError(
            "Ray is not installed",
            where="--executor ray",
            fix="pip install 'triton-builder[ray]'",
        ) from e
    own: dict[str, Any] = {
        "include_dashboard": False,
        "object_store_memory": OBJECTS,
        "resources": dict(cluster.resources),
        "_temp_dir": str(cluster.folder),
        "_node_ip_address": "127.0.0.1",
    }
    try:
        ray.init(
            address=cluster.address or "local",
            log_to_driver=False,
            **({} if cluster.address else own),
        )
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, OSError) as e:
        raise unreachable(cluster.address, str(e)) from e


def _probe(address: str) -> None:
    """Finds out at once that nobody answers; Ray takes half a minute, and then ends the process.

    Raises:
        MissingError: nobody does.
    """
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if not host or not port.isdigit():
        return  # `auto`, or something that Ray itself complains of
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as e:
        raise unreachable(address, str(e)) from e


def _close(folder: Path) -> None:
    """Lets nobody else use a Ray that is started here: it asks for a token, and only we have it.

    Ray would keep one in the user's home, where it changes every cluster that comes after.
    """
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    os.environ.pop("RAY_AUTH_TOKEN", None)
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}


def unreachable(address: str | None, detail: str) -> BuilderError:
    """The error for a cluster that cannot be had."""
    return MissingError(
        "cannot connect to a Ray cluster" if address else "cannot start Ray here",
        where="--executor ray",
        found=address,
        expected="a running cluster with this Python and this Ray",
        fix="ray start --head on one machine, ray start --address on the others and on this one; "
        "ray://HOST:10001 from a machine that is not of the cluster",
        detail=detail,
    )
