"""What Python and the system say, as errors for the user: the last border before a bug."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from builder.errors import BuilderError, InputError, MissingError, WorkFailedError
from builder.files import too_many_open

FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
FILES = (errno.EMFILE, errno.ENFILE)
A_FILE = "a file or folder"


def told(error: Exception) -> BuilderError:
    """Whatever went wrong, as an error for the user."""
    if isinstance(error, BuilderError):
        return error
    known = _system(error) if isinstance(error, OSError) else _python(error)
    return known or BuilderError(
        f"{type(error).__name__}: {error}",
        fix="a bug of triton-builder; add --debug for the traceback",
    )


def _system(error: OSError) -> BuilderError | None:
    if error.errno in FULL:
        return WorkFailedError(
            "the disk is full",
            where=error.filename or "standard output, or a file",
            fix="make room, and run it again",
        )
    if error.errno in DENIED:
        return MissingError(
            "this user may not",
            where=error.filename or A_FILE,
            found=error.strerror,
            fix="give the user that runs this the right to read it, and to write what is written",
        )
    if error.errno in LOCKLESS:
        return MissingError(
            "the file system cannot do what is asked of it",
            where=error.filename or A_FILE,
            found=error.strerror,
            expected="a local disk, or a network's file system with locks",
            fix="put the project there, and have $TRITON_BUILDER_CACHE name a folder there",
        )
    if error.errno in FILES:
        return too_many_open()
    if error.errno == errno.EAGAIN:
        return _no_process(error)
    return _nowhere(error) if error.errno == errno.ENOENT else None


def _python(error: Exception) -> BuilderError | None:
    if isinstance(error, ModuleNotFoundError):
        module = error.name or ""
        return _not_installed(module) if module and module.split(".")[0] != "builder" else None
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return _no_process(error)
    if isinstance(error, MemoryError):
        return WorkFailedError("out of memory", fix="run it where there is more, or --jobs 1")
    return None


def _no_process(error: Exception) -> MissingError:
    return MissingError(
        "no more processes or threads may be started",
        found=error,
        fix="ulimit -u, or a container's --pids-limit, must be higher: some hundreds do",
    )


def _nowhere(error: OSError) -> BuilderError | None:
    """A place that every process has, and this one has not."""
    if "temporary directory" in str(error):
        return MissingError(
            "there is no place for temporary files",
            where="$TMPDIR",
            found=error.strerror,
            expected="a folder that this user may write",
            fix="set TMPDIR to one; for a container: --tmpfs /tmp",
        )
    try:
        Path.cwd()
    except FileNotFoundError:
        return InputError(
            "the folder that this was started in is gone",
            where=os.environ.get("PWD"),
            fix="cd to one that is there",
        )
    return None


def _not_installed(module: str) -> MissingError:
    return MissingError(
        f"the package `{module}` is not installed",
        fix="pip install 'triton-builder[build]'; for pull and verify alone: "
        "pip install 'triton-builder[pull]'; for agent: pip install 'triton-builder[agent]'",
    )
