"""Versions: what an author writes, and the number of Triton's folder."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_DOTTED = re.compile(r"^(0|[1-9]\d*)\.(0|[1-9]\d{0,2})(?:\.(0|[1-9]\d{0,2}))?$")
_INTEGER = re.compile(r"^[1-9]\d{0,17}$")  # Triton keeps version numbers in 64 bits


def number(version: str) -> int:
    """Triton's folder for a version: an integer as it is, `1.2.3` as 1002003.

    The order of versions is the order of their numbers.

    Raises:
        ValueError: the text is neither `MAJOR.MINOR[.PATCH]` (the latter two below 1000) nor
            a positive integer.
    """
    if _INTEGER.match(version):
        return int(version)
    dotted = _DOTTED.match(version)
    if dotted:
        major, minor, patch = (int(part or 0) for part in dotted.groups())
        value = major * 1_000_000 + minor * 1_000 + patch
        if value and major < 10**12:
            return value
    raise ValueError(
        f"{version!r} is not a version; expected MAJOR.MINOR[.PATCH] with minor and patch "
        "below 1000, or a positive integer"
    )


def _text(value: Any) -> Any:
    """The text as written, for a version that YAML took for a number."""
    if isinstance(value, bool):
        return value
    return getattr(value, "text", None) or (str(value) if isinstance(value, int) else value)


def _checked(text: str) -> str:
    number(text)
    return text


Version = Annotated[str, BeforeValidator(_text), AfterValidator(_checked)]
