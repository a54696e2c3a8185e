"""tritonserver's command line: what every server under test is told, wherever it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import InputError
from builder.servers import metrics as gpus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path, PurePath

    from builder.servers.launch import Launch
    from builder.servers.ports import Ports

EXIT_TIMEOUT = 5
"""Seconds that Triton itself waits for what runs when it is told to end."""


def options(
    repositories: Sequence[PurePath],
    address: str,
    ports: Ports,
    launch: Launch,
    *,
    gpu: bool = False,
) -> list[str]:
    """The options that do not depend on where the server's own files lie.

    Args:
        repositories: as the server sees them.
        address: what it listens on.
        ports: for HTTP, gRPC and metrics.
        launch: how it is started.
        gpu: whether it has one; else it is not to look for one.
    """
    http, grpc, metrics = ports
    named: dict[str, object] = {
        "model-control-mode": "explicit" if launch.explicit else "none",
        "strict-readiness": "true",
        "exit-timeout-secs": EXIT_TIMEOUT,
        "log-verbose": launch.verbose,
        "http-address": address,
        "http-port": http,
        "grpc-address": address,
        "grpc-port": grpc,
        "metrics-address": address,
        "metrics-port": metrics,
    }
    if gpu:
        named["metrics-interval-ms"] = gpus.INTERVAL
    else:
        named |= {"allow-gpu-metrics": "false", "pinned-memory-pool-byte-size": 0}
    return [
        "--disable-auto-complete-config",
        *(f"--model-repository={repository}" for repository in repositories),
        *(f"--{name}={value}" for name, value in named.items()),
        *(["--load-model=*"] if launch.preload else []),
        "--backend-config=python,stub-timeout-seconds=120",
    ]


def check(repositories: Sequence[Path]) -> None:
    """Raises InputError where a repository is no folder."""
    for repository in repositories:
        if not repository.is_dir():
            raise InputError(
                "there is no model repository",
                where=str(repository),
                expected="a folder with one folder per model",
                fix="triton-builder build",
            )
