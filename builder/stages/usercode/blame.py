"""Running code that is not ours: its folder importable, its errors blamed on its own lines."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import BuilderError, InputError, MissingError
from builder.stages.usercode import libraries
from builder.stages.usercode.reads import editable

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator

CHILDREN = "daemonic processes are not allowed to have children"
"""What multiprocessing says to a worker, which it lets have none."""

SINGLE = (
    "do it in this process: no Pool, num_workers=0, num_proc=1; what processes of its own read "
    "would not be found out"
)

_helpers: dict[Path, dict[str, types.ModuleType]] = {}
"""What sources imported at their top, by the file of the source. Two sources share nothing: what
one has imported would not be opened for the other."""


@dataclass(frozen=True)
class Place:
    """Where a function is written: `models/minilm/source.py:load`."""

    project: Path
    file: str
    function: str

    @classmethod
    def parse(cls, text: str, project: Path) -> Place:
        """Reads `path/below/project.py:function`."""
        file, _, function = text.rpartition(":")
        return cls(project, file, function)

    @property
    def path(self) -> Path:
        """The file itself."""
        return self.project / self.file

    @property
    def spec(self) -> str:
        """The spec beside the file, for messages."""
        return f"{self.file.rpartition('/')[0] or '.'}/model.yaml"

    def at(self, line: int | None) -> str:
        """The file, and a line in it, for messages."""
        return f"{self.file}:{line}" if line else self.file


@contextmanager
def importable(place: Place, *, keep: bool = False) -> Iterator[None]:
    """Lets modules beside a source be imported; the project's modules are gone afterwards.

    What the source imports at its top is kept for later calls. What a function imports as
    it runs is imported anew each time, so that each call's reads are all of its reads.
    """
    folder = place.path.parent
    own = _helpers.setdefault(place.path, {})
    sys.modules.update(own)
    before = set(sys.modules) - set(own)
    sys.path.insert(0, str(folder))
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = wrote
        sys.path.remove(str(folder))
        files = {str(place.path)} | {_file(module) for module in own.values()}
        for name in [name for name in sys.modules if name not in before]:
            if editable(Path(_file(sys.modules[name])), place.project):
                module = sys.modules.pop(name)
                files.add(_file(module))
                if keep:
                    own[name] = module
        libraries.ran(files)


def forget(folder: Path) -> None:
    """Lets what a folder's sources imported be imported anew."""
    for path in [path for path in _helpers if path.parent == folder]:
        del _helpers[path]


@contextmanager
def blaming(place: Place, doing: str, *, keep: bool = False) -> Iterator[None]:
    """Turns what the user's code raises into an error that names their line.

    The folder of the source is importable meanwhile. Its modules leave `sys.modules`
    afterwards, so that two models may each have a `helper.py`.
    """
    folder = place.path.parent
    with importable(place, keep=keep):
        try:
            yield
        except BuilderError:
            raise
        except ModuleNotFoundError as error:
            raise _no_module(error, place, doing) from error
        except BaseException as error:  # a source may raise anything, SystemExit among it
            found = _first(error)
            alone = "run the source on its own to see it, and mend it"
            raise InputError(
                f"the source raised {type(error).__name__} while {doing}",
                where=_line(error, place),
                found=found,
                fix=SINGLE if CHILDREN in found else alone,
                detail=users_part(error, folder),
            ) from error


def users_part(error: BaseException, folder: Path) -> str:
    """The frames of the user's own files, and the exception."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _below(f.filename, folder)]
    lines = traceback.format_list(frames) + traceback.format_exception_only(error)
    return "".join(lines).replace(f"{folder}{os.sep}", "")


def _line(error: BaseException, place: Place) -> str:
    folder = place.path.parent
    if isinstance(error, SyntaxError) and error.filename and _below(error.filename, folder):
        return _named(error.filename, error.lineno, place)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _below(frame.filename, folder):
            return _named(frame.filename, frame.lineno, place)
    return place.file


def _named(filename: str, line: int | None, place: Place) -> str:
    base = place.file.rpartition("/")[0]
    name = os.path.relpath(filename, place.path.parent).replace(os.sep, "/")
    return f"{base}/{name}:{line}" if base else f"{name}:{line}"


def _below(filename: str, folder: Path) -> bool:
    return filename.startswith(f"{folder}{os.sep}")


def _first(error: BaseException) -> str:
    try:
        text = str(error).strip().split("\n")[0]
    except BaseException:  # noqa: BLE001 - the source's as well
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _no_module(error: ModuleNotFoundError, place: Place, doing: str) -> MissingError:
    package = (error.name or "?").partition(".")[0]
    return MissingError(
        f"the source needs the module `{error.name}` while {doing}",
        where=_line(error, place),
        found="not installed",
        expected=f"an importable `{error.name}`",
        fix=f"pip install {package}, and list it under `requires` in {place.spec}; "
        "a module of your own lies beside the source",
    )


def _file(module: types.ModuleType) -> str:
    return str(getattr(module, "__file__", None) or "")
