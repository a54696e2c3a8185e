"""Which ONNX a release loads, which one is written for it, and what stands in a graph's way.

Two numbers stand in every ONNX file: the opset, whose operators it uses, and the IR version, its
format. ONNX Runtime refuses a file whose numbers are higher than those that it was made for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STANDARD = frozenset({"", "ai.onnx"})
"""The names of the domain that the opset numbers."""

OWN = frozenset({"ai.onnx.ml", "com.microsoft"})
"""Domains that ONNX Runtime knows beside the standard one."""


@dataclass(frozen=True)
class Onnx:
    """An opset and an IR version."""

    opset: int
    ir_version: int


WRITTEN = Onnx(opset=20, ir_version=10)
"""The newest that both of torch's exporters write (docs/decisions/0029)."""


@dataclass(frozen=True)
class Node:
    """A node of a graph.

    Attributes:
        name: as the file has it; "" for none.
        operator: its type, without the domain.
        domain: of its operator; one of `STANDARD` mostly.
        since: the opset that its operator has this form from; None where ONNX has no such
            operator, or it is of another domain.
        new: whether the opset that is loaded has no operator of that name.
    """

    name: str
    operator: str
    domain: str = ""
    since: int | None = None
    new: bool = False

    def __str__(self) -> str:
        operator = self.operator if self.domain in STANDARD else f"{self.domain}::{self.operator}"
        return f"{operator} (node `{self.name}`)" if self.name else operator


def aim(loads: Onnx) -> Onnx:
    """What is written for a runtime that loads up to this."""
    return Onnx(min(loads.opset, WRITTEN.opset), min(loads.ir_version, WRITTEN.ir_version))


def obstacles(
    found: Onnx, loads: Onnx, nodes: Iterable[Node], functions: Iterable[tuple[str, str]] = ()
) -> list[str]:
    """Why a runtime that loads up to `loads` would refuse a graph; none if it would not.

    Args:
        found: the numbers that the graph's file has.
        loads: the highest that are loaded.
        nodes: all of the graph's, those of graphs inside nodes too.
        functions: domain and name of the operators that the file itself defines.
    """
    defined, every = {*functions}, list(nodes)
    reasons = [_foreign(node) for node in every if _is_foreign(node, defined)]
    if found.opset > loads.opset:
        late = [n for n in every if n.since is not None and n.since > loads.opset]
        late = [n for n in late if n.new] or late  # a form that changed may have a way back
        said = [f"{node} is of opset {node.since}, {loads.opset} is loaded" for node in late]
        reasons += said or [f"it is of opset {found.opset}, {loads.opset} is loaded"]
    if found.ir_version > loads.ir_version:
        reasons.append(f"it has IR version {found.ir_version}, {loads.ir_version} is loaded")
    return list(dict.fromkeys(reasons))


def some(reasons: Sequence[str], most: int = 5) -> str:
    """The first few reasons as one text."""
    more = len(reasons) - most
    return "; ".join(reasons[:most]) + (f"; and {more} more" if more > 0 else "")


def _is_foreign(node: Node, defined: set[tuple[str, str]]) -> bool:
    known = node.domain in STANDARD | OWN
    return not known and (node.domain, node.operator) not in defined


def _foreign(node: Node) -> str:
    return f"{node} is of a domain that ONNX Runtime does not know"
