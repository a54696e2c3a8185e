"""What each stage takes of a machine, before anything is known of the model at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.plan.action import Needs

if TYPE_CHECKING:
    from collections.abc import Mapping

MB = 1_000_000

MEMORY: Mapping[str, int] = {
    "reference": 600 * MB,
    "export": 1200 * MB,
    "int8": 900 * MB,
    "fp16": 900 * MB,
    "prove": 400 * MB,
    "qdq": 900 * MB,
    "preflight": 1200 * MB,
    "tensorrt": 4000 * MB,
    "python": 100 * MB,
    "heldout": 200 * MB,
    "config": 100 * MB,
}
"""Bytes by stage: about what the models of this repository take. What an action took the last
time, or what its spec declares, counts instead where it is more."""

SECONDS: Mapping[str, float] = {
    "reference": 4,
    "export": 10,
    "int8": 6,
    "fp16": 4,
    "prove": 2,
    "qdq": 6,
    "preflight": 3,
    "tensorrt": 60,
}
"""Seconds by stage, to see which path is the longest; what the last run took counts instead."""

BRIEF = 0.5
"""Seconds of the stages that are not listed."""


def needs(stage: str, declared: int | None = None) -> Needs:
    """What an action of a stage takes; `declared` are bytes that the model's spec asks for."""
    return Needs(memory=max(MEMORY[stage], declared or 0))
