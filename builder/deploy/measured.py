"""What a build measured on the live server, out of its report."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builder.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Measured:
    """Figures of one machine.

    Attributes:
        loads: seconds until a model was loaded and warm, all of its versions, by name.
        memory: most bytes that the server with all models was seen to hold; None if not known.
    """

    loads: Mapping[str, float] = field(default_factory=dict)
    memory: int | None = None


def read(text: bytes, where: str) -> Measured:
    """Reads what `triton-builder build --json` or `validate --json` printed.

    Raises:
        InputError: it is something else.
    """
    try:
        models = json.loads(text)["models"]
        findings = [(model["name"], finding) for model in models for finding in _findings(model)]
        loads: dict[str, float] = {}
        memory: list[float] = []
        for name, finding in findings:
            figures = finding["figures"]
            if "load_s" in figures:  # of the model, said of each of its versions
                loads[name] = max(loads.get(name, 0.0), float(figures["load_s"]))
            if finding["check"] == "memory":
                memory.append(float(figures["after_mb"]))
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(
            "not a report",
            where=where,
            found=repr(e),
            expected="what `triton-builder validate --json` prints",
            fix=f"triton-builder validate --json > {where}",
        ) from e
    return Measured(loads, int(max(memory) * 1e6) if memory else None)


def _findings(model: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for version in model["versions"]:
        if version["verdict"]:
            yield from version["verdict"]["findings"]
