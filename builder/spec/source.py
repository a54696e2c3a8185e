"""What can be known of a source file without running it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.errors import InputError
from builder.spec.document import suggestion

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Function:
    """A function at the top of a source file."""

    name: str
    line: int
    parameters: tuple[str, ...]
    keywords: tuple[str, ...]

    @property
    def takes_version(self) -> bool:
        """Whether it is called with the version: it has a parameter besides `weights`."""
        return any(p != "weights" for p in self.parameters)


@dataclass(frozen=True)
class Outline:
    """The top-level functions and names of a source file."""

    name: str
    functions: dict[str, Function]
    names: frozenset[str]

    def function(self, name: str, where: str) -> Function | None:
        """The function of that name; None where the file takes it from elsewhere.

        Raises:
            InputError: nothing in the file has that name.
        """
        if name in self.functions:
            return self.functions[name]
        if name in self.names:
            return None
        raise InputError(
            f"{self.name} has no function `{name}`",
            where=where,
            found=", ".join(self.functions) or "no functions",
            expected=f"def {name}(...)",
            fix=suggestion(name, list(self.functions)) or f"write `def {name}` in {self.name}",
        )


def outline(path: Path, name: str, where: str) -> Outline:
    """Reads a source file's outline.

    Raises:
        InputError: the file is missing or is no Python.
    """
    try:
        tree = ast.parse(path.read_bytes(), filename=name)
    except FileNotFoundError:
        raise InputError(
            f"source {name} is missing", where=where, expected=f"a file {name}", fix="create it"
        ) from None
    except OSError as e:
        raise InputError(f"source {name} cannot be read", where=where, found=e) from e
    except (SyntaxError, ValueError) as e:
        line = getattr(e, "lineno", None)
        raise InputError(
            f"not valid Python: {getattr(e, 'msg', e)}",
            where=f"{name}:{line}" if line else name,
            found=(getattr(e, "text", None) or "").strip() or None,
        ) from e
    functions, names = {}, set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            functions[node.name] = Function(
                node.name,
                node.lineno,
                tuple(a.arg for a in (*node.args.posonlyargs, *node.args.args)),
                tuple(a.arg for a in node.args.kwonlyargs),
            )
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(a.asname or a.name).split(".")[0] for a in node.names}
        elif isinstance(node, ast.Assign):
            names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.If | ast.Try):
            names |= {n.name for n in ast.walk(node) if isinstance(n, ast.FunctionDef)}
    return Outline(name, functions, frozenset(names))
