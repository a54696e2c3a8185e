"""What tests of several folders share."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from builder.servers.embedded.install import Installation

RELEASE = "24.10"

LONGEST = (
    "live/test_served.py",
    "flow/container/test_build.py",
    "engine/ray/test_executor.py",
    "deploy/test_kube.py",
    "agent/test_sidecar_live.py",
    "flow/test_gpu.py",
    "deploy/test_job_live.py",
    "servers/test_container.py",
    "flow/test_compare.py",
    "flow/test_zoo_live.py",
    "stages/test_export.py",
    "live/test_same_bytes.py",
)
"""Files of a minute and more. One of them begun last would have all cores but its own wait."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, all others in their order; `make test` has xdist keep to it."""
    root = Path(__file__).parent
    order = {str(root / name): place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(str(item.path), len(order)))


@pytest.fixture(scope="session", autouse=True)
def _interrupts_arrive() -> None:
    """Ctrl-C and SIGHUP work in tests, also where a shell, or nohup, had them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def cache() -> Path:
    """The user's own cache: the server is installed once, not once per test run."""
    chosen = os.environ.get("TRITON_BUILDER_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "triton-builder"


@pytest.fixture(scope="session")
def installation(cache: Path) -> Installation:
    from builder.servers.embedded.install import ensure

    return ensure(RELEASE, cache, print)
