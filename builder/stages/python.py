"""A version folder for Triton's Python backend: model.py, its files, and its packages.

What the model imports travels with it, under `site-packages/`: nothing but Python and NumPy
is assumed in the server. The folder holds no bytecode, which would vary.
"""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from builder.errors import InputError, MissingError
from builder.repository.strict import LONGEST_PART, fits
from builder.stages.usercode import source
from builder.stages.usercode.observation import Observation

if TYPE_CHECKING:
    from builder.stages.job import Job


def run(job: Job) -> dict[str, object]:
    """Lays the version folder out.

    Raises:
        InputError: `files` gives something else than paths and bytes, or leaves the folder.
        MissingError: a package is not installed here.
    """
    shutil.copyfile(job.project / job.params["source"], job.out / "model.py")
    observed = Observation()
    if job.params["files"]:
        listing = source.function(job.params["files"], job.project)
        files, observed = source.invoke(listing, doing="listing the files")
        _write(files, job)
    for package in job.params["packages"]:
        _vendor(package, job.out / "site-packages", job.where)
    return observed.facts(job.project)


def _write(files: Any, job: Job) -> None:
    where = job.params["files"]
    if not isinstance(files, dict):
        raise InputError(
            "`files` gives no mapping",
            where=where,
            found=type(files).__name__,
            expected="{path in the version folder: bytes or Path}",
        )
    for name, content in files.items():
        path = PurePosixPath(str(name))
        if path.is_absolute() or ".." in path.parts or str(path) in {".", "model.py"}:
            raise InputError(
                "a file outside its place",
                where=where,
                found=name,
                expected="a relative path inside the version folder, not model.py",
            )
        if not fits(str(path)):
            raise InputError(
                "no name for a file",
                where=where,
                found=ascii(str(path))[:100],
                expected=f"text without control characters, at most {LONGEST_PART} bytes a part",
            )
        target = job.out / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            taken = target.is_dir()
        except (FileExistsError, NotADirectoryError):
            taken = True
        if taken:
            raise InputError(
                "both a file and a folder",
                where=where,
                found=name,
                expected="one of the two by each name",
            )
        if isinstance(content, bytes):
            target.write_bytes(content)
        elif isinstance(content, Path) and content.is_file():
            shutil.copyfile(content, target)
        else:
            raise InputError(
                f"nothing to write to {name}",
                where=where,
                found=repr(content)[:100],
                expected="bytes, or the Path of a file",
            )


def _vendor(package: str, folder: Path, where: str) -> None:
    """Copies an installed distribution's files, as its RECORD lists them."""
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise MissingError(
            f"package {package} is not installed", where=where, fix=f"pip install {package}"
        ) from None
    for file in distribution.files or ():
        inside = not file.is_absolute() and ".." not in file.parts
        ours = ".dist-info" not in file.parts[0] and file.suffix != ".pyc"
        if inside and ours:
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)
