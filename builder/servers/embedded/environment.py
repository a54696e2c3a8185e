"""Folders that appear whole, and Python environments in them with packages of exact versions."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import MissingError
from builder.files import disk_full
from builder.servers.embedded import programs
from builder.servers.embedded.libpython import PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_BINARY = ("--no-deps", "--only-binary", ":all:")


def once(
    root: Path,
    there: Callable[[], bool],
    make: Callable[[Path], None],
    *,
    what: str,
    size: str,
) -> None:
    """Makes a folder unless it is there, even where several processes ask for it at once.

    Args:
        root: the folder.
        there: whether it is.
        make: fills a folder that is to become it, and says that it does.
        what: is in it, for messages.
        size: that it takes on the disk.

    Raises:
        MissingError: no place can be made for it.
        WorkFailedError: the disk is full.
    """
    from filelock import FileLock

    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{root}.lock"):
            if not there():
                _place(root, make)
    except (OSError, NotImplementedError) as error:  # the latter where locks are not known
        raise MissingError(
            f"{what} cannot be installed",
            where=str(root),
            found=error,
            expected=f"a writable cache folder with {size} free",
            fix="free some space, or set TRITON_BUILDER_CACHE to another folder",
        ) from error


def _place(root: Path, make: Callable[[Path], None]) -> None:
    """Makes a folder beside its place and moves it there in one step.

    A killed installer's pip may still be writing: so never twice into the same folder. An
    environment survives the move, since only its scripts, which nobody runs, name its place.
    """
    prefix = f".{root.name}-"
    for old in root.parent.glob(f"{prefix}*"):
        shutil.rmtree(old, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=root.parent))
    try:
        with disk_full(root.parent):
            make(work)
        shutil.rmtree(root, ignore_errors=True)
        work.rename(root)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def create(folder: Path, packages: Mapping[str, str]) -> Path:
    """An environment with these versions and nothing that they ask for; gives its interpreter.

    Raises:
        MissingError: Python has no `venv`, or pip cannot provide a package.
    """
    _run(
        [sys.executable, "-m", "venv", str(folder)],
        problem="the server's Python environment cannot be made",
        fix=f"apt-get install python{PYTHON}-venv, or use a Python that has `venv`",
    )
    interpreter = folder / "bin" / "python"
    wanted = [f"{name}=={version}" for name, version in packages.items()]
    _pip(interpreter, ["install", "--quiet", *_BINARY, *wanted], wanted)
    return interpreter


def download(interpreter: Path, wheel: str, folder: Path) -> None:
    """Downloads the wheel of a requirement into a folder.

    Raises:
        MissingError: pip cannot provide it.
    """
    _pip(interpreter, ["download", "--quiet", *_BINARY, "--dest", str(folder), wheel], [wheel])


def _pip(interpreter: Path, arguments: Sequence[str], packages: Sequence[str]) -> None:
    pip = [str(interpreter), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    wanted = " ".join(packages)
    _run(
        [*pip, *arguments],
        problem=f"pip cannot provide {wanted}",
        fix=f"see that `pip download --no-deps {wanted}` works here: network, index, proxy",
    )


def _run(command: Sequence[str], *, problem: str, fix: str) -> None:
    # A PYTHONPATH or PIP_TARGET meant for the caller's environment must not reach this one.
    kept = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME"}}
    kept = {k: v for k, v in kept.items() if k not in {"PIP_TARGET", "PIP_PREFIX", "PIP_USER"}}
    code, output = programs.run(command, kept)
    if code == 0:
        return
    detail = "\n".join(output.splitlines()[-15:])
    if "No space left on device" in output:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # `disk_full` tells it
    raise MissingError(problem, fix=fix, detail=detail)
