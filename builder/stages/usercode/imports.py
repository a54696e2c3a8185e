"""What the user's own code imports: where in the project it is looked for, and whose code it is.

Modules that are loaded already are not opened again, and one that is not there never was. So
the imports themselves are watched: `import`, `importlib.import_module` and
`importlib.util.find_spec`, as the project's own files call them.
"""

from __future__ import annotations

import builtins
import functools
import importlib.util
import os
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.stages.usercode import replaced
from builder.stages.usercode.reads import editable

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator, Mapping, Sequence

LOADED = frozenset(
    {
        *("__future__", "collections", "contextlib", "dataclasses", "datetime", "functools"),
        *(
            "hashlib",
            "importlib",
            "inspect",
            "json",
            "numpy",
            "pathlib",
            "random",
            "re",
            "torch",
            "types",
        ),
        "typing",
    }
)
"""Modules that are always there before a source asks for them (the builder sees to `torch` where a
source imports it): nothing beside a source can be found in their place."""


@dataclass
class Imports:
    """What was imported so far.

    Attributes:
        root: the project's folder, resolved.
        sought: `FOLDER/NAME` for each folder of the project where a module was looked for, up to
            the one where it was found.
        foreign: top-level names of modules that come with some distribution.
    """

    root: Path
    sought: set[Path] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)


_watches: list[Imports] = []


@contextmanager
def importing(project: Path) -> Iterator[Imports]:
    """Sees what the project's own code imports meanwhile, with success or without."""
    watch = Imports(Path(os.path.realpath(project)))
    with ExitStack() as stack:
        if not _watches:
            replaced.attribute(stack, builtins, "__import__", _statement(builtins.__import__))
            for holder, name in ((importlib, "import_module"), (importlib.util, "find_spec")):
                replaced.attribute(stack, holder, name, _function(getattr(holder, name)))
        _watches.append(watch)
        stack.callback(_watches.remove, watch)
        yield watch


# --- whose import it is ------------------------------------------------------------------


def _statement(original: Any) -> Any:
    """`__import__`, which an import statement calls. It runs for all imports: it must be quick."""

    @functools.wraps(original)
    def wrapper(
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the name it has
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        try:
            return original(name, globals, locals, fromlist, level)
        finally:
            asker = sys._getframe(1).f_globals if globals is None else globals  # noqa: SLF001
            for watch in _watches:
                if _own(asker.get("__file__"), watch.root):
                    _note(watch, _absolute(name, asker, level), fromlist or ())

    return wrapper


def _function(original: Any) -> Any:
    """`import_module` or `find_spec`."""

    @functools.wraps(original)
    def wrapper(name: str, package: str | None = None) -> Any:
        try:
            return original(name, package)
        finally:
            file = sys._getframe(1).f_globals.get("__file__")  # noqa: SLF001
            for watch in _watches:
                if _own(file, watch.root):
                    level = len(name) - len(name.lstrip("."))
                    asker = {"__package__": package}
                    _note(watch, _absolute(name[level:], asker, level), ())

    return wrapper


@functools.lru_cache(maxsize=4096)
def _own(file: object, root: Path) -> bool:
    """Whether a module's file is the user's own."""
    return isinstance(file, str) and editable(Path(os.path.realpath(file)), root)


def _absolute(name: str, asker: Mapping[str, Any], level: int) -> str:
    """The full name of what is imported; empty where there is none."""
    if not level:
        return name
    package = asker.get("__package__") or ""
    try:
        return importlib.util.resolve_name("." * level + name, package) if package else ""
    except ImportError:
        return ""


# --- what it depends on ------------------------------------------------------------------


def _note(watch: Imports, full: str, names: Sequence[str]) -> None:
    parts = full.split(".") if full else []
    for length in range(1, len(parts) + 1):
        _seek(watch, ".".join(parts[:length]))
    module = sys.modules.get(full)
    if module is None or not _own(_file(module), watch.root) or not hasattr(module, "__path__"):
        return
    for name in getattr(module, "__all__", ()) if "*" in names else names:
        if f"{full}.{name}" in sys.modules or not hasattr(module, name):
            _seek(watch, f"{full}.{name}")


def _seek(watch: Imports, full: str) -> None:
    """Takes note of where the import system looks for one module."""
    parent, _, last = full.rpartition(".")
    module = sys.modules.get(full)
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    if origin in {"built-in", "frozen"}:
        return
    if not parent and origin and not _own(_file(module), watch.root):
        if full not in sys.stdlib_module_names:
            watch.foreign.add(full)
        if full in LOADED:
            return
    above = sys.modules.get(parent) if parent else None
    path = getattr(above, "__path__", ()) if parent else sys.path
    home = _home(module)
    for entry in path:
        folder = _resolved(entry)
        if editable(folder, watch.root):
            watch.sought.add(folder / last)
        if folder == home:
            return


def _home(module: types.ModuleType | None) -> Path | None:
    """The folder where a module was found."""
    if module is None:
        return None
    folders = list(getattr(module, "__path__", ()))
    place = folders[0] if folders else _file(module)
    return _resolved(place).parent if place else None


def _file(module: types.ModuleType | None) -> str | None:
    """A module's file; of a package without one, its folder."""
    folders = list(getattr(module, "__path__", ()))
    return getattr(module, "__file__", None) or (folders[0] if folders else None)


@functools.lru_cache(maxsize=4096)
def _resolved(path: str) -> Path:
    return Path(os.path.realpath(path))
