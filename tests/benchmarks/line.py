"""Publishing and pulling over a line, as pods do: none of them is on the machine of its store.

On one machine a store takes as much of the cores as its client, and the race is for those. Here a
line is the limit, slower than what both could do. It is made of the kernel's own parts: a network
namespace for the clients, and a token bucket at both ends of what leads there. Needs root.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.store.digests import cache_folder
from tests.benchmarks.releases import Race
from tests.debian import provide
from tests.stores.ceph import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.rows import Row

RATE = "4gbit"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - in the namespace, too
HERE, THERE = "198.18.0.1", "198.18.0.2"
"""Of the block for benchmarks of network devices (RFC 2544)."""


@dataclass(frozen=True)
class Line:
    """A line to this machine, from a namespace of its own.

    Attributes:
        enter: the words before a command that is to be at the far end.
    """

    enter: tuple[str, ...]

    def reach(self, port: int) -> str:
        """The URL of a port of this machine, from the far end."""
        return f"http://{HERE}:{port}"


def rows(workspace) -> Iterator[Row]:
    """Seconds on the clock."""
    provide(["ip", "tc"], ["iproute2"])
    with (
        serving(cache_folder(), workspace.scratch / "far-ceph", EVERYWHERE) as s3,
        line(RATE) as made,
    ):
        what = f"1 x 1 GiB over {RATE.removesuffix('gbit')} Gbit/s"
        yield from Race(workspace.scratch / "far", s3, what, 1, 1024, made).over_a_line()


@contextmanager
def line(rate: str) -> Iterator[Line]:
    """A line, until the block ends.

    Args:
        rate: of each direction, as tc takes it.
    """
    name = f"line{os.getpid()}"
    here, there = f"{name}a", f"{name}b"
    bucket = f"root tbf rate {rate} burst 1mb latency 20ms"
    _run(f"ip netns add {name}")
    try:
        _run(f"ip link add {here} type veth peer name {there} netns {name}")
        for device, address, enter in ((here, HERE, ""), (there, THERE, f"ip netns exec {name} ")):
            _run(f"{enter}ip address add {address}/30 dev {device}")
            _run(f"{enter}ip link set {device} up")
            _run(f"{enter}tc qdisc add dev {device} {bucket}")
        yield Line(("ip", "netns", "exec", name))
    finally:
        _run(f"ip netns delete {name}")  # and with it both ends


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True)
