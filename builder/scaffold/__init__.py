"""`triton-builder init`: a project, or a model in one, that builds as it is.

Nothing that exists is overwritten.
"""

from __future__ import annotations

import re
import tempfile
from importlib import resources
from pathlib import Path
from string import Template

from builder.errors import InputError
from builder.files import disk_errors, remove_tree, write_atomically

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
IGNORED = (b"/repository/", b"/releases/")
"""What builds and publications make in a project, where nothing else is said."""


def project(root: Path) -> list[str]:
    """Makes a folder a project; gives what was written.

    Raises:
        InputError: pyproject.toml exists without our table: it is the user's to change.
    """
    pyproject = root / "pyproject.toml"
    text = _template("pyproject.toml")
    written = []
    if not pyproject.exists():
        write_atomically(pyproject, text.encode())
        written.append("pyproject.toml")
    elif b"[tool.triton-builder" not in pyproject.read_bytes():
        raise InputError(
            "pyproject.toml has no table for triton-builder",
            where="pyproject.toml",
            fix="add this to it, then run `triton-builder init` again",
            detail=text,
        )
    for folder in ("models", "ensembles"):
        if not (root / folder).is_dir():
            (root / folder).mkdir(parents=True)
            written.append(f"{folder}/")
    ignore = root / ".gitignore"
    before = ignore.read_bytes() if ignore.exists() else b""
    if added := [line for line in IGNORED if line not in before.splitlines()]:
        ended = before if before.endswith(b"\n") or not before else before + b"\n"
        write_atomically(ignore, b"".join([ended, *(line + b"\n" for line in added)]))
        written.append(".gitignore")
    return written


def model(root: Path, name: str) -> list[str]:
    """Writes a small model that builds, to be filled in; gives what was written.

    Raises:
        InputError: the name will not do, or there is such a model.
    """
    if not NAME.fullmatch(name) or len(name) > 200:  # noqa: PLR2004 - as specs have it
        raise InputError(
            "not a name for a model",
            where="command line",
            found=name,
            expected="letters, digits, `_`, `-` and `.`, first a letter or a digit, at most 200",
        )
    folder = root / "models" / name
    for taken in (folder, root / "ensembles" / name):
        if taken.exists():
            raise InputError(
                f"there is a `{name}` already",
                where=f"{taken.parent.name}/{name}",
                fix="choose another name; nothing was changed",
            )
    with disk_errors(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{name[:20]}."))
        try:
            for file in ("model.yaml", "source.py"):
                text = Template(_template(file)).substitute(name=name)
                write_atomically(aside / file, text.encode())
            aside.chmod(0o755)
            aside.rename(folder)
        except BaseException:
            remove_tree(aside)
            raise
    return [f"models/{name}/model.yaml", f"models/{name}/source.py"]


def _template(name: str) -> str:
    place = resources.files(__package__).joinpath("templates", name)
    return place.read_text(encoding="utf-8")
