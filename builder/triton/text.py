"""config.pbtxt as text: read, and changed in places, without protobuf.

A pod that swaps releases has no protobuf, and needs little: which members an ensemble calls, what
warms a model up, another name or other versions in a config that is otherwise as it was.
Source of the syntax: protobuf.dev, "Text Format Language Specification".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_TOKEN = re.compile(
    r"""\s+ | \#[^\n]* | (?P<string>"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')
    | (?P<word>[A-Za-z0-9_.+-]+) | (?P<sign>[{}<>\[\]:,;])""",
    re.VERBOSE | re.DOTALL,
)

_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9A-Fa-f]{1,2})|(.))", re.DOTALL)
_LETTERS = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
}


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Attributes:
        name: `version_policy`.
        value: a scalar as it is written (strings without quotes), or the fields of a message.
        start: where the field begins in the text.
        end: behind where it ends.
    """

    name: str
    value: str | tuple[Field, ...]
    start: int
    end: int

    def __str__(self) -> str:
        return self.value if isinstance(self.value, str) else ""

    def all(self, name: str) -> Iterator[Field]:
        """The fields of this name in a message; a list gives its items one by one."""
        fields = () if isinstance(self.value, str) else self.value
        return (field for field in fields if field.name == name)

    def first(self, name: str) -> Field | None:
        """The first of them."""
        return next(self.all(name), None)

    def text(self, name: str, default: str = "") -> str:
        """A scalar's text."""
        found = self.first(name)
        return default if found is None else str(found)


def read(text: str) -> Field:
    """A message, as the value of a field without a name.

    Raises:
        ValueError: it is none; the message says where.
    """
    tokens = list(_tokens(text))
    fields, place = _fields(tokens, 0, "")
    if place != len(tokens):
        raise ValueError(f"{tokens[place].text!r} at {tokens[place].start} ends nothing")
    return Field("", fields, 0, len(text))


def pins(text: str) -> frozenset[tuple[str, int]]:
    """The members that an ensemble calls, with their versions; none for a model."""
    scheduling = read(text).first("ensemble_scheduling")
    steps = scheduling.all("step") if scheduling else ()
    return frozenset((s.text("model_name"), int(s.text("model_version", "-1"))) for s in steps)


def shared(text: str) -> str:
    """What of a config every version depends on: all but which versions are served."""
    return _edited(text, [(f, "") for f in read(text).all("version_policy")])


def keeping(text: str, versions: Sequence[int]) -> str:
    """The same config for these versions."""
    return f"{shared(text).rstrip()}\n\n{_policy(versions)}"


def renamed(
    text: str, name: str, versions: Sequence[int], members: Mapping[str, str] | None = None
) -> str:
    """The same config under another name, for these versions, and without a warm-up.

    Args:
        text: the config.
        name: the other name.
        versions: those to serve.
        members: other names of members, where it is an ensemble.
    """
    message = read(text)
    changes = [(f, "") for n in ("version_policy", "model_warmup") for f in message.all(n)]
    changes += [(f, f'name: "{name}"') for f in message.all("name")]
    scheduling = message.first("ensemble_scheduling")
    for step in scheduling.all("step") if scheduling else ():
        called = step.first("model_name")
        if called and str(called) in (members or {}):
            changes.append((called, f'model_name: "{(members or {})[str(called)]}"'))
    return f"{_edited(text, changes).rstrip()}\n\n{_policy(versions)}"


def _policy(versions: Sequence[int]) -> str:
    numbers = ", ".join(map(str, versions))
    return f"version_policy {{\n  specific {{\n    versions: [{numbers}]\n  }}\n}}\n"


def _edited(text: str, changes: Sequence[tuple[Field, str]]) -> str:
    for field, new in sorted(changes, key=lambda change: -change[0].start):
        text = text[: field.start] + new + text[field.end :]
    return text


# --- parsing -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"{text[place]!r} at {place} is no part of a config")
        place = match.end()
        if match.lastgroup:
            yield _Token(match.lastgroup, match[0], match.start(), match.end())


def _fields(tokens: Sequence[_Token], place: int, end: str) -> tuple[tuple[Field, ...], int]:
    """Fields up to a sign, and the place of that."""
    found: list[Field] = []
    while place < len(tokens) and tokens[place].text != end:
        name = tokens[place]
        if name.kind != "word":
            raise ValueError(f"{name.text!r} at {name.start} where a name was expected")
        values, place = _value(tokens, place + 1)
        if place < len(tokens) and tokens[place].text in {",", ";"}:
            place += 1
        last = tokens[place - 1].end
        found += [Field(name.text, value, name.start, last) for value in values]
    if end and place == len(tokens):
        raise ValueError(f"{end!r} is missing at the end")
    return tuple(found), place


def _value(tokens: Sequence[_Token], place: int) -> tuple[list[str | tuple[Field, ...]], int]:
    """A field's values (a list has many), and the place behind them."""
    if place < len(tokens) and tokens[place].text == ":":
        place += 1
    if place == len(tokens):
        raise ValueError("a value is missing at the end")
    token = tokens[place]
    if token.text in {"{", "<"}:
        end = "}" if token.text == "{" else ">"
        inner, place = _fields(tokens, place + 1, end)
        return [inner], place + 1
    if token.text == "[":
        return _list(tokens, place + 1)
    if token.kind == "word":
        return [token.text], place + 1
    text = ""
    while place < len(tokens) and tokens[place].kind == "string":  # adjacent ones are one
        text += _unquoted(tokens[place].text)
        place += 1
    if tokens[place - 1].kind != "string":
        raise ValueError(f"{token.text!r} at {token.start} where a value was expected")
    return [text], place


def _list(tokens: Sequence[_Token], place: int) -> tuple[list[str | tuple[Field, ...]], int]:
    found: list[str | tuple[Field, ...]] = []
    while place < len(tokens) and tokens[place].text != "]":
        values, place = _value(tokens, place)
        found += values
        if place < len(tokens) and tokens[place].text == ",":
            place += 1
    if place == len(tokens):
        raise ValueError("']' is missing at the end")
    return found, place + 1


def _unquoted(token: str) -> str:
    """A quoted string's text: protobuf escapes bytes of UTF-8, and some characters as C does."""

    def byte(match: re.Match[bytes]) -> bytes:
        octal, hexadecimal, letter = match.groups()
        if letter:
            return _LETTERS.get(letter, letter)
        return bytes([int(octal, 8) & 0xFF if octal else int(hexadecimal, 16)])

    return _ESCAPE.sub(byte, token[1:-1].encode()).decode(errors="replace")
