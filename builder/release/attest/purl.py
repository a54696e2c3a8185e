"""Package URLs of what a toolchain names, as github.com/package-url/purl-spec says them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SERVER = "server "
"""What the toolchain calls the parts of the server that a version was proven on."""

ABSENT = "not installed"

NOT_FROM_PYPI = frozenset({"python", "tritonserver"})


@dataclass(frozen=True)
class Tool:
    """Something with a version that shaped a release.

    Attributes:
        label: what the toolchain calls it: `torch`, `server onnxruntime`.
        version: as it calls itself.
    """

    label: str
    version: str

    @property
    def name(self) -> str:
        """The distribution's or program's own name."""
        return self.label.removeprefix(SERVER)

    @property
    def serves(self) -> bool:
        """Whether it runs the models; the others only made them."""
        return self.label.startswith(SERVER)

    @property
    def purl(self) -> str:
        """`pkg:pypi/torch@2.13.0%2Bcpu`; what PyPI does not have is `generic`."""
        version = quote(self.version, safe="._~-")
        if self.name in NOT_FROM_PYPI:
            return f"pkg:generic/{quote(self.name, safe='._~-')}@{version}"
        return f"pkg:pypi/{re.sub('[-_.]+', '-', self.name).lower()}@{version}"


def tools(toolchain: Mapping[str, str]) -> Iterator[Tool]:
    """The tools of a manifest's toolchain, by label."""
    for label, version in sorted(toolchain.items()):
        if version != ABSENT:
            yield Tool(label, version)
