"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import re

import click

names_argument = click.argument("names", nargs=-1)
target_option = click.option("--target", "-t", metavar="T", help="A target of pyproject.toml.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def size(_context: object, _option: object, text: str | None) -> int | None:
    """An option that is a size, in bytes."""
    from builder.spec.size import size as parse

    try:
        return parse(text) if text else None
    except ValueError as e:
        raise click.BadParameter(f"{text!r} is {e}") from e


def age(_context: object, _option: object, text: str | None) -> float | None:
    """An option that is a time in hours or days, in seconds."""
    if not text:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hd])", text)
    if not match:
        raise click.BadParameter(f"{text!r} is no time; expected hours or days: 12h, 30d")
    return float(match[1]) * {"h": 3600, "d": 86400}[match[2]]
