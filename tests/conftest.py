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


@pytest.fixture(scope="session", autouse=True)
def _interrupts_arrive() -> None:
    """Ctrl-C works in tests, also where a shell started them in the background with it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
