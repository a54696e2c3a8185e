"""What there is to report of a build: models, their versions, and the verdicts on them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.validation.verdict import Finding, Verdict


LISTED = 30
"""Versions that a terminal shows of a build that touched only some of them."""

NOTHING = "\N{EN DASH}"
"""What stands where there is no figure."""


@dataclass(frozen=True)
class VersionReport:
    """One built version.

    Attributes:
        version: as the author writes it.
        number: as Triton knows it.
        precision: `fp32`, `fp16`, `int8`; None where there is none (ensembles, code).
        files: sizes in bytes by path inside the version folder.
        notes: how it was made: way of export, recipe, why.
        agreement: figures of the artifact against its goldens: `cosine` (least over rows),
            `cosine_mean`, `relative`, `mismatch`.
        note: what a user of this version must know: "untrained weights".
        slo_p99_ms: what its author promises, in milliseconds.
        verdict: None where it was not validated.
    """

    version: str
    number: int
    precision: str | None = None
    files: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    agreement: Mapping[str, float] = field(default_factory=dict)
    note: str | None = None
    slo_p99_ms: float | None = None
    verdict: Verdict | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())

    @property
    def outcome(self) -> str:
        """`passed`, `failed`, or `not validated`."""
        if self.verdict is None:
            return "not validated"
        return "passed" if self.verdict.passed else "failed"

    @property
    def agrees(self) -> Mapping[str, float]:
        """How it agrees with its goldens: the artifact's figures, else the live server's."""
        if self.agreement or self.verdict is None:
            return self.agreement
        found = (f.figures for f in self.verdict.findings if f.check == "goldens")
        return next(found, {})

    @property
    def latency(self) -> Mapping[str, float]:
        """The figures taken on the live server; empty where there are none."""
        return self.verdict.latency if self.verdict else {}

    @property
    def memory(self) -> Mapping[str, float]:
        """What the load of its model has added to the server; empty where nobody could tell."""
        return self.verdict.memory if self.verdict else {}


@dataclass(frozen=True)
class ModelReport:
    """One model or ensemble, with its versions in order."""

    name: str
    versions: tuple[VersionReport, ...]
    format: str = "onnx"
    description: str = ""
    members: tuple[str, ...] = ()

    @property
    def ensemble(self) -> bool:
        """Whether it is made of other models."""
        return bool(self.members)


@dataclass(frozen=True)
class BuildReport:
    """Everything about one target's build.

    Attributes:
        target: its name.
        server: the live server that was asked, for people; None if none was.
        release: the Triton release that is built for.
        toolchain: versions of what shaped the outputs.
        models: models and ensembles, in order.
        manifest: the manifest's digest, which names the content.
        touched: models that were built or validated this time; None where all are to be shown.
    """

    target: str
    release: str
    models: tuple[ModelReport, ...]
    server: str | None = None
    toolchain: Mapping[str, str] = field(default_factory=dict)
    manifest: str | None = None
    touched: frozenset[str] | None = None

    @cached_property
    def rows(self) -> tuple[tuple[ModelReport, VersionReport], ...]:
        """Every version with its model, in order."""
        return tuple((m, v) for m in self.models for v in m.versions)

    @cached_property
    def shown(self) -> tuple[tuple[ModelReport, VersionReport], ...]:
        """The versions that a terminal shows: of many models, those that were touched."""
        rows = self.rows
        if len(rows) <= LISTED or self.touched is None:
            return rows
        return tuple((m, v) for m, v in rows if m.name in self.touched or v.outcome == "failed")

    @property
    def failed(self) -> tuple[tuple[ModelReport, VersionReport], ...]:
        """The versions whose verdict failed."""
        return tuple((m, v) for m, v in self.rows if v.outcome == "failed")

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings on all versions."""
        return tuple(f for _, v in self.rows if v.verdict for f in v.verdict.findings)

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        count, bad = len(self.rows), len(self.failed)
        unproven = sum(v.outcome == "not validated" for _, v in self.rows)
        noun = "version" if count == 1 else "versions"
        if bad:
            return f"{bad} of {count} {noun} failed"
        if unproven:
            return f"{unproven} of {count} {noun} not validated"
        return f"{'The' if count == 1 else 'All'} {count} {noun} passed"

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values, with the outcomes spelled out."""
        document = dataclasses.asdict(self)
        document["touched"] = sorted(self.touched) if self.touched is not None else None
        document["outcome"] = self.headline
        for model, made in zip(self.models, document["models"], strict=True):
            for version, entry in zip(model.versions, made["versions"], strict=True):
                entry["outcome"], entry["size"] = version.outcome, version.size
        return document


def size(count: float) -> str:
    """Bytes for people: `22.9 MB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            value = count / scale
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"  # noqa: PLR2004
    return f"{count:.0f} B"


def milliseconds(value: float | None) -> str:
    """A time for people: `0.42 ms`, `61 ms`."""
    if value is None:
        return NOTHING
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"  # noqa: PLR2004


def rate(value: float | None) -> str:
    """Rows a second for people: `1 240`."""
    if value is None:
        return NOTHING
    text = f"{value:.1f}" if value < 10 else f"{value:,.0f}"  # noqa: PLR2004
    return text.replace(",", "\N{NARROW NO-BREAK SPACE}")


def cosine(value: float | None) -> str:
    """A cosine with the digits that tell: `0.98134`, `0.9999998`, `1`."""
    if value is None:
        return NOTHING
    away = abs(1 - value)
    if away < 5e-8:  # noqa: PLR2004 - what float32 cannot tell from one
        return "1"
    digits = min(7, max(4, math.ceil(-math.log10(away)) + 1))
    return f"{value:.{digits}f}"


def held(figures: Mapping[str, float]) -> str:
    """What a load has added to a server, for people: `412 MB`, `380 MB, GPU 1.2 GB`."""
    named = (("host_mb", ""), ("gpu_mb", "GPU "))
    known = [f"{word}{size(max(0.0, figures[key]) * 1e6)}" for key, word in named if key in figures]
    return ", ".join(known) or NOTHING
