"""YAML documents that remember where every value stands.

An error in a spec names its line. Keys are taken as they are written, so that a version
`1.10` is not a number that lost its zero; a number remembers its text for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from builder.errors import InputError, SeveralError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Place = tuple[str | int, ...]
"""The way to a value: ("inputs", "input_ids", "shape", 0)."""

M = TypeVar("M", bound=BaseModel)

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Number(float):
    """A float that remembers how it was written."""

    text: str


DEPTH, NODES = 100, 100_000
"""Far beyond any spec, and far below what an alias that repeats itself unfolds to."""


@dataclass(frozen=True)
class Document:
    """One YAML file.

    Attributes:
        name: the path as messages name it, relative to the project.
        value: the content as plain Python values.
        lines: the line (from 1) of every place.
    """

    name: str
    value: Any
    lines: dict[Place, int] = field(repr=False)

    def where(self, place: Place = ()) -> str:
        """`file:line` of a place, or of the nearest place around it."""
        for length in range(len(place), -1, -1):
            if place[:length] in self.lines:
                return f"{self.name}:{self.lines[place[:length]]}"
        return self.name

    def error(self, place: Place, problem: str, **parts: Any) -> InputError:
        """An error about the value at a place."""
        return InputError(problem, where=self.where(place), **parts)


def read(path: Path, name: str) -> Document:
    """Reads one YAML file.

    Raises:
        InputError: it is not there, not UTF-8, not YAML, not a mapping, or has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError("file is missing", where=name, fix=f"create {name}") from None
    except (OSError, UnicodeDecodeError) as e:
        raise InputError("file cannot be read", where=name, found=e) from e
    lines: dict[Place, int] = {}
    try:
        _refuse_deep(text, name)
        node = yaml.compose(text, Loader=_Loader)
        if not isinstance(node, yaml.MappingNode):
            raise InputError(
                "a spec is a mapping of fields",
                where=name,
                found="nothing"
                if node is None
                else type(node).__name__.removesuffix("Node").lower(),
                expected="`name: ...` and the other fields, one a line",
            )
        value = _value(node, (), lines, name)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        raise InputError(
            f"not valid YAML: {e.problem or e.context}",
            where=place,
            fix="check indentation, colons and brackets on this line and the one before",
        ) from e
    except yaml.reader.ReaderError as e:
        control = yaml.reader.Reader.NON_PRINTABLE.search(text)
        line = f":{text.count(chr(10), 0, control.start()) + 1}" if control else ""
        raise InputError(
            "not valid YAML: a character that YAML does not allow",
            where=f"{name}{line}",
            found=repr(control.group()) if control else e,
            fix="remove it, or write it as an escape in double quotes",
        ) from e
    except yaml.YAMLError as e:
        raise InputError(f"not valid YAML: {e}", where=name) from e
    return Document(name, value, lines)


def parse(document: Document, kind: type[M]) -> M:
    """Reads a document as a spec.

    Raises:
        SeveralError: with one error for every field that is wrong.
    """
    try:
        return kind.model_validate(document.value)
    except ValidationError as e:
        raise SeveralError.of(_explain(document, kind, e)) from e


def suggestion(word: str, known: Sequence[str]) -> str | None:
    """A fix that names the closest known word, if one is close."""
    import difflib  # as slow to import as all of this package

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else None


def unknown(
    kind: str, name: str, known: Sequence[str], where: str, fix: str | None = None
) -> InputError:
    """The error that there is no `kind` of that name; `fix` where no known name is close."""
    return InputError(
        f"no {kind} `{name}`",
        where=where,
        found=name,
        expected=", ".join(known),
        fix=suggestion(name, known) or fix,
    )


def _refuse_deep(text: str, name: str) -> None:
    """Stops at deep nesting before `compose` does, which recurses."""
    if sum(map(text.count, "[{-?:")) <= DEPTH:
        return  # no collection begins without one of these
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise _too_much(name, line)


def _too_much(name: str, line: int) -> InputError:
    return InputError(
        "nested too deeply, or unfolds to too much",
        where=f"{name}:{line}",
        expected=f"at most {DEPTH} levels and {NODES} values",
        fix="write it flatter; an alias must not lead back to itself",
    )


def _value(node: yaml.Node, place: Place, lines: dict[Place, int], name: str) -> Any:
    if len(place) > DEPTH or len(lines) > NODES:
        raise _too_much(name, node.start_mark.line + 1)
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, lines, name)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, i), lines, name) for i, item in enumerate(node.value)]
    _refuse_surrogates(node, name)
    try:
        return _scalar(node)
    except (ValueError, TypeError, KeyError, yaml.YAMLError) as e:
        text = node.value
        raise InputError(
            f"not a value of YAML's type {node.tag.rpartition(':')[2]}",
            where=f"{name}:{node.start_mark.line + 1}",
            found=text if len(text) < 200 else f"{text[:20]}... ({len(text)} characters)",  # noqa: PLR2004 - a screen's line or two
            fix="put it in quotes if it is meant as text",
        ) from e


def _refuse_surrogates(node: yaml.Node, name: str) -> None:
    """Stops at half a character, which no file can hold; only libyaml does so by itself."""
    try:
        node.value.encode()
    except UnicodeEncodeError as e:
        raise InputError(
            "not valid YAML: an escape that is no character",
            where=f"{name}:{node.start_mark.line + 1}",
            found=ascii(node.value[e.start]),
            fix="write the character itself, or its escape as \\UXXXXXXXX",
        ) from e


def _scalar(node: yaml.Node) -> Any:
    if node.tag == "tag:yaml.org,2002:float":
        number = Number(yaml.safe_load(node.value))
        number.text = node.value
        return number
    if node.tag == "tag:yaml.org,2002:timestamp":
        return node.value
    leading_zero = node.value[:1] == "0" and node.value[1:].isdigit()  # a digest, not an octal
    if node.tag == "tag:yaml.org,2002:str" or leading_zero:
        return node.value
    if node.tag == "tag:yaml.org,2002:int" and node.value.isdecimal():
        return int(node.value)  # what `safe_load` makes of it, without another parser
    return yaml.safe_load(node.value) if node.tag.startswith("tag:yaml.org") else node.value


def _mapping(
    node: yaml.MappingNode, place: Place, lines: dict[Place, int], name: str
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise InputError(
                "a key that is no text", where=f"{name}:{line}", expected="`key: value`"
            )
        _refuse_surrogates(key_node, name)
        key = key_node.value
        here = (*place, key)
        if key in result:
            raise InputError(
                f"`{key}` is declared twice",
                where=f"{name}:{line}",
                found=f"first on line {lines[here]}",
                fix="keep one of them",
            )
        lines[here] = line
        result[key] = _value(value_node, here, lines, name)
    return result


def _explain(document: Document, kind: type[BaseModel], e: ValidationError) -> list[InputError]:
    """One error a place: a union's branches each complain, and the first says enough.

    Of a branch that fits so far that the mistake lies inside it, only that mistake is told.
    """
    found: dict[Place, InputError] = {}
    branches: set[Place] = set()
    for item in e.errors(include_url=False):
        place = _place(document, item["loc"])
        if place in found:
            continue
        dotted = ".".join(str(part) for part in place)
        if item["type"] == "extra_forbidden":
            key = str(place[-1]) if place else ""
            shown = key if document.lines else dotted
            known = _fields(kind, place[:-1])
            found[place] = document.error(
                place,
                f"unknown field `{shown}`",
                found=key,
                expected=", ".join(known) or None,
                fix=suggestion(key, known) or "remove it, or see `triton-builder schema`",
            )
        elif item["type"] == "missing":
            missing = str(item["loc"][-1])
            shown = missing if document.lines else dotted
            found[place if not document.lines else (*place, missing)] = document.error(
                place,
                f"field `{shown}` is missing",
                fix=f"add `{missing}{':' if document.lines else ' ='}`",
            )
        else:
            if len(place) < len(item["loc"]) and item["loc"][-1] != "[key]":
                branches.add(place)
            given = item["input"]
            text = getattr(given, "text", None) or repr(given)
            message = item["msg"].removeprefix("Value error, ")
            problem, _, expected = message.partition("; expected ")
            if not expected and problem.startswith("Input should be "):
                problem, expected = "wrong value", problem.removeprefix("Input should be ")
            if item["type"] == "string_pattern_mismatch":
                problem, expected = "wrong value", f"text of the form {item['ctx']['pattern']}"
            number = item["type"] == "string_type" and isinstance(given, int | float)
            label = f"`{dotted}`: " if dotted else ""
            found[place] = document.error(
                place,
                f"{label}{problem}",
                found=text if len(text) < 200 else None,  # noqa: PLR2004 - a screen's line or two
                expected=expected or None,
                fix="write it in quotes" if number else None,
            )
    for place in branches:
        if any(len(other) > len(place) and other[: len(place)] == place for other in found):
            del found[place]
    # a field that is missing may be the one with the typo, which is told first
    return [
        found[p] for p in sorted(found, key=lambda p: (_line(document, p), p not in document.lines))
    ]


def _line(document: Document, place: Place) -> int:
    return int(document.where(place).rpartition(":")[2]) if document.lines else 0


def _place(document: Document, loc: Sequence[str | int]) -> Place:
    """Pydantic's location without what it adds for union branches; whole without lines."""
    if not document.lines:
        return tuple(part for part in loc if part != "[key]")
    place: Place = ()
    for part in loc:
        if (*place, part) in document.lines:
            place = (*place, part)
    return place


def _fields(kind: type[BaseModel], place: Place) -> list[str]:
    """The names that a spec knows at a place, as far as plain models go."""
    current: Any = kind
    for part in place:
        following: Any = None
        for model in _models(current):
            for name, field_ in model.model_fields.items():
                if part in (name, field_.alias):
                    following = field_.annotation
        if following is None:
            following = _items(current, part)
        current = following
    names: list[str] = []
    for model in _models(current):
        names += [f.alias or n for n, f in model.model_fields.items()]
    return names


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in getattr(annotation, "__args__", ()) for m in _models(a)]


def _items(annotation: Any, part: str | int) -> Any:
    """What a list or a mapping holds: `tuple[Step, ...]`, `dict[str, Tensor]`."""
    arguments = getattr(annotation, "__args__", ())
    return arguments[0 if isinstance(part, int) else -1] if arguments else None
