"""The fixture `registry`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.release.oci.registry import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.release.oci.registry import Registry


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that lets everybody in."""
    with serving(tmp_path_factory.mktemp("registry") / "data") as server:
        yield server
