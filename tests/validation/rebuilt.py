"""Cases that are held against something else than what was built."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.validation.case import Case


def rebuilt(case: Case, old: str, new: str) -> Case:
    """The same live model, held against a config that was built differently."""
    assert old in case.subject.config
    text = case.subject.config.replace(old, new)
    return dataclasses.replace(case, subject=dataclasses.replace(case.subject, config=text))
