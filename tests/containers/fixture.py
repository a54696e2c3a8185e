"""The fixture `engine`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from tests.containers.engine import Engine, install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def engine(cache: Path) -> Iterator[Engine]:
    """A container engine for the whole run."""
    if os.geteuid() != 0:
        pytest.skip("containers in a storage of our own need root")
    data = cache.absolute() / "test-containers"
    data.mkdir(parents=True, exist_ok=True)
    with FileLock(data / "lock"):
        install()
        found = Engine(data)
        found.collect()
    try:
        yield found
    finally:
        found.remove(found.run)
