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

    Figures = Mapping[str, Any]
    _Told = tuple[str, Figures, Iterable[tuple[str, Figures]]]
    """A model, what its load has taken, and the figures of checks."""


MEMORY = "memory"
"""The check whose figures tell what the server holds."""


@dataclass(frozen=True)
class Measured:
    """Figures of one machine.

    Attributes:
        loads: seconds until a model was loaded and warm, all of its versions, by name.
        memory: most bytes that the server with all models was seen to hold; None if not known.
        held: bytes of that by model, all of its versions.
        server: what it held without models; None if not known.
        manifest: the digest of the repository that they were measured on, or that they fit.
    """

    loads: Mapping[str, float] = field(default_factory=dict)
    memory: int | None = None
    held: Mapping[str, int] = field(default_factory=dict)
    server: int | None = None
    manifest: str | None = None

    def over(self, before: Measured) -> Measured:
        """These figures, and earlier ones of what was not measured again.

        Of memory the most: where few models were measured again, the server held few.
        """
        return Measured(
            {**before.loads, **self.loads},
            max(self.memory or 0, before.memory or 0) or None,
            {**before.held, **self.held},
            max(self.server or 0, before.server or 0) or None,
            self.manifest,
        )

    def encode(self) -> bytes:
        """As a file keeps it."""
        return json.dumps(asdict(self), indent=1).encode()


def of(report: BuildReport) -> Measured:
    """What a build's verdicts tell."""
    return _gathered(
        (
            (
                model.name,
                version.verdict.memory,
                [(finding.check, finding.figures) for finding in version.verdict.findings],
            )
            for model, version in report.rows
            if version.verdict
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
            held = {str(name): int(size) for name, size in document.get("held", {}).items()}
            memory, server = (
                None if size is None else int(size)
                for size in (document["memory"], document.get("server"))
            )
            return Measured(loads, memory, held, server, document["manifest"])
        return _gathered(
            (
                (
                    model["name"],
                    version["verdict"].get("memory", {}),
                    [(f["check"], f["figures"]) for f in version["verdict"]["findings"]],
                )
                for model in document["models"]
                for version in model["versions"]
                if version["verdict"]
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


def _gathered(verdicts: Iterable[_Told], manifest: str | None) -> Measured:
    loads: dict[str, float] = {}
    held: dict[str, int] = {}
    memory: list[int] = []
    server: list[int] = []
    for model, taken, findings in verdicts:
        for check, figures in findings:
            if "load_s" in figures:  # of the model, said of each of its versions
                loads[model] = max(loads.get(model, 0.0), float(figures["load_s"]))
            if "after_mb" in figures and check == MEMORY:  # none of models that were left alone
                memory.append(_bytes(figures["after_mb"]))
        if "host_mb" in taken:
            held[model] = max(held.get(model, 0), _bytes(taken["host_mb"]))
        if "server_mb" in taken:
            server.append(_bytes(taken["server_mb"]))
    return Measured(loads, max(memory, default=None), held, max(server, default=None), manifest)


def _bytes(megabytes: float) -> int:
    return int(float(megabytes) * 1e6)
