"""What a TensorRT plan says of itself in its first bytes: whose it is, and of which version.

A tag at 0, the format's version at 4, and the library's version in the four bytes from 24 on: so
trtexec reads it (`--getPlanVersionOnly`, samples/common/sampleEngines.cpp of TensorRT 8.6 to 11.1).
TensorRT-RTX 1.7 has another tag, and the rest alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LIBRARIES = {b"ftrt": "TensorRT", b"vtrt": "TensorRT-RTX"}
FORMAT = bytes(4)
VERSION = slice(24, 28)
PARTS = 3
"""Of a version, those that must agree: a build number that one leaves out is no other version."""


@dataclass(frozen=True)
class Maker:
    """What made a plan: `TensorRT`, `10.5.0.18`."""

    library: str
    version: str

    def __str__(self) -> str:
        return f"{self.library} {self.version}"


def maker(plan: bytes) -> Maker | None:
    """What made a plan, by its first bytes; None where they are none that is known."""
    library = LIBRARIES.get(plan[:4])
    if library is None or plan[4:8] != FORMAT or len(plan) < VERSION.stop:
        return None
    return Maker(library, ".".join(map(str, plan[VERSION])))


def maker_of(file: Path) -> Maker | None:
    """What made the plan in a file.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        return maker(opened.read(VERSION.stop))


def loads(server: str, plan: str, *, compatible: bool = False) -> bool:
    """Whether a TensorRT loads the plans of another one: of its own version, as a rule.

    Args:
        server: the version that loads, `10.5.0` or with its build number.
        plan: the version that built.
        compatible: whether the plan is version-compatible: later versions of the same major load
            it too.
    """
    here, there = _numbers(server), _numbers(plan)
    if min(len(here), len(there)) < PARTS:
        return False
    if compatible and here[0] == there[0] and here[:PARTS] > there[:PARTS]:
        return True
    return all(one == other for one, other in zip(here, there, strict=False))


def _numbers(version: str) -> list[int]:
    parts = version.split(".")
    return [int(part) for part in parts] if all(part.isdigit() for part in parts) else []
