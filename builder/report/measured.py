"""What a build measured on the live server: what a deployment is sized by.

`repository/<target>.measured.json` keeps it beside the report, of models that later builds leave as
they were, too. No key and no manifest holds it: the next run measures something else.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from builder.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from builder.report.contents import BuildReport


MEMORY = "memory"
"""The check whose figures tell what the server holds."""


@dataclass(frozen=True)
class Measured:
    """Figures of one machine.

    Attributes:
        loads: seconds until a model was loaded and warm, all of its versions, by name.
        memory: most bytes that the server with all models was seen to hold; None if not known.
        manifest: the digest of the repository that they were measured on, or that they fit.
    """

    loads: Mapping[str, float] = field(default_factory=dict)
    memory: int | None = None
    manifest: str | None = None

    def over(self, before: Measured) -> Measured:
        """These figures, and earlier ones of what was not measured again.

        Of memory the most: where few models were measured again, the server held few.
        """
        memory = max(self.memory or 0, before.memory or 0) or None
        return Measured({**before.loads, **self.loads}, memory, self.manifest)

    def encode(self) -> bytes:
        """As a file keeps it."""
        return json.dumps(asdict(self), indent=1).encode()


def of(report: BuildReport) -> Measured:
    """What a build's verdicts tell."""
    return _gathered(
        (
            (model.name, finding.check, finding.figures)
            for model, version in report.rows
            if version.verdict
            for finding in version.verdict.findings
        ),
        report.manifest,
    )


def file(target: str) -> str:
    """The name of a target's file, beside its repository."""
    return f"{target}.measured.json"


def kept(path: Path) -> Measured:
    """What a file keeps; nothing where there is none, or one that is of no use."""
    with suppress(OSError, InputError):
        return read(path.read_bytes(), path.name)
    return Measured()


def read(text: bytes, where: str) -> Measured:
    """Reads a file of such figures, or what `build --json` or `validate --json` printed.

    Raises:
        InputError: it is something else.
    """
    try:
        document = json.loads(text)
        if "loads" in document:
            loads = {str(name): float(seconds) for name, seconds in document["loads"].items()}
            memory = document["memory"]
            return Measured(loads, None if memory is None else int(memory), document["manifest"])
        return _gathered(
            (
                (model["name"], finding["check"], finding["figures"])
                for model in document["models"]
                for version in model["versions"]
                if version["verdict"]
                for finding in version["verdict"]["findings"]
            ),
            document.get("manifest"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(
            "not a report",
            where=where,
            found=repr(e),
            expected="what `triton-builder validate --json` prints",
            fix=f"triton-builder validate --json > {where}",
        ) from e


def _gathered(
    findings: Iterable[tuple[str, str, Mapping[str, Any]]], manifest: str | None
) -> Measured:
    loads: dict[str, float] = {}
    memory: list[float] = []
    for model, check, figures in findings:
        if "load_s" in figures:  # of the model, said of each of its versions
            loads[model] = max(loads.get(model, 0.0), float(figures["load_s"]))
        if "after_mb" in figures and check == MEMORY:  # none of models that were left as they are
            memory.append(float(figures["after_mb"]))
    return Measured(loads, int(max(memory) * 1e6) if memory else None, manifest)
