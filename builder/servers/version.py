"""Which tritonserver answers, held against the release that it is to be. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.triton.releases import Release

PATH = "/v2"
"""Where a server says what it is."""


def told(answer: bytes) -> str:
    """The version in what `PATH` gave: `2.51.0`.

    Raises:
        ValueError: there is none.
    """
    try:
        return str(json.loads(answer)["version"])
    except (LookupError, TypeError) as e:
        raise ValueError(f"no version in {answer[:80]!r}") from e


def other(version: str, release: Release) -> dict[str, str]:
    """What was found and what was expected, where a server is of another release; else nothing."""
    wanted = release.need("server")
    if version == wanted:
        return {}
    return {
        "found": f"tritonserver {version}",
        "expected": f"tritonserver {wanted}, of release {release.name}",
    }
