"""What sources leave behind in libraries: a function in another's place, a switch, a table's row.

The next model that imports such a library would not get what its author had, so a process to which
this has happened is of no more use. It is found out twice: by what the few libraries that everybody
uses hold, and by what is written in the source, which is quick to see for all the others.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EVERYBODYS = (
    "builtins",
    "math",
    "numpy",
    "numpy.linalg",
    "numpy.random",
    "random",
    "torch",
    "torch.linalg",
    "torch.nn",
    "torch.nn.functional",
    "torch.nn.init",
)
"""Modules of which it is remembered what their names meant."""

PUT_BACK = {"os.environ", "sys.path", "sys.dont_write_bytecode"}
"""What every call, or every action, finds as it was anyway."""

_before: dict[str, dict[str, object]] = {}
_ran: set[str] = set()


def remember() -> None:
    """Remembers what libraries hold. Call it before a source is run."""
    for name in EVERYBODYS:
        if name not in _before and name in sys.modules:
            _before[name] = dict(vars(sys.modules[name]))


def ran(files: Iterable[str]) -> None:
    """Takes note that code of these files of a project has run."""
    _ran.update(files)


def changed() -> list[str]:
    """What of libraries the code changes that has run since this was last asked.

    Returns:
        names, sorted: `numpy.array`.
    """
    if not _ran:
        return []
    files, found = [Path(file) for file in sorted(_ran)], set(_renamed())
    _ran.clear()
    own = {file.stem for file in files}
    own |= {file.parent.name for file in files if (file.parent / "__init__.py").exists()}
    for file in files:
        try:
            text = file.read_bytes()
        except OSError:  # removed since
            continue
        found |= {name for name in written(text) if name.partition(".")[0] not in own}
    return sorted(found)


# --- what libraries hold -----------------------------------------------------------------


def _renamed() -> Iterator[str]:
    """Names of everybody's libraries that mean another function or class than they did."""
    for name, before in _before.items():
        now = vars(sys.modules[name]) if name in sys.modules else {}
        for attribute in before.keys() | now.keys():
            old, new = before.get(attribute), now.get(attribute)
            if (
                old is not new
                and (callable(old) or callable(new))
                and not _own(new, name, attribute)
            ):
                yield f"{name}.{attribute}"


def _own(value: Any, module: str, name: str) -> bool:
    """Whether a library may have put it there itself: a part of it, or the same made anew."""
    if isinstance(value, types.ModuleType):
        return True
    home = str(getattr(value, "__module__", "")).partition(".")[0]
    return home == module.partition(".")[0] and getattr(value, "__name__", None) == name


# --- what is written ---------------------------------------------------------------------

_COULD = re.compile(rb"[.\])]\s*\w*\s*[^=\n]*=|\bdel\b|\b(?:setattr|delattr)\b")
"""What stands in every text that `written` finds something in."""

_SETTERS = {"setattr", "delattr"}
_ASKING = {"type", "vars", "getattr", "import_module", "__import__"}
"""Functions that give what belongs to others."""


@functools.lru_cache(maxsize=1024)
def written(text: bytes) -> frozenset[str]:
    """What a source's text sets or deletes in things that it imports: `torch.nn.Linear.forward`.

    Of something that it has made itself, or was given, it may set what it likes. A name that it
    gives to something imported stands for that.
    """
    if not _COULD.search(text):
        return frozenset()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return frozenset()
    nodes = list(ast.walk(tree))
    names = dict(_imported(nodes))
    for node in nodes:
        names |= _renaming(node, names)
    targets = [n for n in nodes if isinstance(n, ast.Attribute | ast.Subscript)]
    found = {_named(n, names) for n in targets if not isinstance(n.ctx, ast.Load)}
    calls = [n for n in nodes if isinstance(n, ast.Call) and len(n.args) > 1]
    found |= {
        _named(ast.Attribute(n.args[0], _text(n.args[1]), ast.Store()), names)
        for n in calls
        if isinstance(n.func, ast.Name) and n.func.id in _SETTERS
    }
    return frozenset(name for name in found if name and name.partition("[")[0] not in PUT_BACK)


def _imported(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """What an import binds, and what that is called in full."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _renaming(node: ast.AST, names: dict[str, str]) -> dict[str, str]:
    """Names that a statement gives to things that are imported."""
    if isinstance(node, ast.Assign):
        pairs = [(target, node.value) for target in node.targets]
    elif isinstance(node, ast.For | ast.comprehension):
        within = node.iter.elts if isinstance(node.iter, ast.List | ast.Tuple | ast.Set) else []
        pairs = [(node.target, element) for element in within]
    else:
        return {}
    plain = (ast.Name, ast.Attribute)
    return {
        target.id: name
        for target, value in pairs
        if isinstance(target, ast.Name) and isinstance(value, plain)
        if (name := _named(value, names))
    }


def _text(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else "..."


def _named(node: ast.expr, names: dict[str, str]) -> str:
    """An expression's name, if it is somebody else's; empty where it is not."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        inside = _named(node.value, names)
        return f"{inside}.{node.attr}" if inside else "its class" * (node.attr == "__class__")
    if isinstance(node, ast.Subscript):
        inside = _named(node.value, names)
        return f"{inside}[...]" if inside else ""
    if isinstance(node, ast.Call):
        function = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
        name = function.id if isinstance(function, ast.Name) else function
        return f"{name}(...)" if name in _ASKING else ""
    return ""
