"""The three ports of a server, for HTTP, gRPC and metrics: picked, checked, lost."""

from __future__ import annotations

import socket

from builder.errors import InputError, MissingError

HOST = "127.0.0.1"

Ports = tuple[int, int, int]

REACHED = 5.0
"""Seconds for this machine to reach itself."""

TAKEN = ("failed to start HTTP", "failed to start GRPC", "failed to start Metrics")
"""What the server says when somebody else has one of them."""


def pick() -> Ports:
    """Three that are free now; whether they still are when a server starts, it will tell.

    Raises:
        MissingError: this machine does not reach itself.
    """
    _check_loopback()
    sockets = [socket.socket() for _ in range(3)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        first, second, third = (one.getsockname()[1] for one in sockets)
    finally:
        for one in sockets:
            one.close()
    return first, second, third


def _check_loopback() -> None:
    """A network of nothing, as a sandbox may have it, lets servers listen that nobody reaches."""
    try:
        with socket.create_server((HOST, 0)) as server, socket.socket() as one:
            one.settimeout(REACHED)
            one.connect(server.getsockname())
    except OSError as error:
        raise MissingError(
            "this machine does not reach itself, and so no server of its own",
            where=HOST,
            found=error,
            expected="a loopback interface that is up",
            fix="bring it up: ip link set lo up",
        ) from error


def check(ports: Ports) -> None:
    """Raises InputError where a server could not open each of these."""
    if len(set(ports)) < len(ports):
        raise InputError(
            "one port cannot serve two protocols",
            found=", ".join(map(str, ports)),
            expected="three different ports: HTTP, gRPC, metrics",
        )
    for port in ports:
        _check_free(port)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers bind
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise InputError(
                "the port cannot be used",
                where=f"{HOST}:{port}",
                found=error,
                expected="a port that is free",
                fix=f"choose another port, or see who has it: ss -ltnp 'sport = :{port}'",
            ) from error


def was_taken(log: str) -> bool:
    """Whether a server's log says that it did not get one of its ports."""
    return any(words in log for words in TAKEN)
