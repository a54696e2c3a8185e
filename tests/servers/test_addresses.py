"""On which addresses Triton answers: why manifests are for pods that have IPv4."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time

import pytest

from builder.servers import ports

pytestmark = pytest.mark.live

WITHIN = 30.0


def answers(host, port):
    with contextlib.suppress(OSError):
        socket.create_connection((host, port), 2).close()
        return True
    return False


def reached(installation, folder, address):
    """Who answers on 127.0.0.1, and who on ::1, where HTTP and metrics listen on that address."""
    numbers = dict(zip(("http", "grpc", "metrics"), ports.pick(), strict=True))
    process = subprocess.Popen(
        [
            installation.tritonserver,
            f"--model-repository={folder}",
            "--model-control-mode=explicit",
            f"--backend-directory={installation.backends}",
            *(f"--{name}-port={port}" for name, port in numbers.items()),
            *(f"--{name}-address={address}" for name in ("http", "metrics") if address),
        ],
        env={
            "PATH": os.defpath,
            "HOME": str(folder),
            "LD_LIBRARY_PATH": ":".join(map(str, installation.libraries)),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + WITHIN
        while not any(answers(host, numbers["metrics"]) for host in ("127.0.0.1", "::1")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return tuple(
            {name for name, port in numbers.items() if answers(host, port)}
            for host in ("127.0.0.1", "::1")
        )
    finally:
        process.terminate()
        process.wait(WITHIN)


def test_http_and_metrics_are_of_one_kind_and_grpc_of_both(installation, tmp_path):
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    everything, grpc = {"http", "grpc", "metrics"}, {"grpc"}
    assert reached(installation, tmp_path, None) == (everything, grpc)
    assert reached(installation, tmp_path, "ipv6:[::]") == (grpc, everything)
