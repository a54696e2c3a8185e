"""The running Python's shared library, which Triton's Python stub embeds.

A Python that was built without one (many are) finds it among the system's, or in Debian's package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
NAME = f"libpython{PYTHON}.so.1.0"


def provide(folder: Path) -> None:
    """Puts the library into a folder.

    Raises:
        MissingError: it is nowhere on this machine, and no Debian package can be had.
    """
    target = folder / NAME
    for path in _candidates():
        if path.is_file():
            target.symlink_to(path.resolve())
            return
    if not _from_debian(target):
        raise MissingError(
            f"the Python stub of Triton needs {NAME}, which this Python came without",
            where=sys.base_prefix,
            fix=f"apt-get install libpython{PYTHON}, or use a Python built with --enable-shared",
        )


def _candidates() -> Iterator[Path]:
    for folder in (sysconfig.get_config_var("LIBDIR"), Path(sys.base_prefix) / "lib"):
        if folder:
            yield Path(folder) / NAME
    multiarch = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"
    for place in (f"/usr/lib/{multiarch}", "/usr/lib64", "/usr/lib", "/usr/local/lib"):
        yield Path(place) / NAME
    ldconfig = shutil.which(
        "ldconfig", path=f"{os.environ.get('PATH', os.defpath)}:/sbin:/usr/sbin"
    )
    if ldconfig:
        listing = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=False)
        for line in listing.stdout.splitlines():
            if line.strip().startswith(f"{NAME} "):
                yield Path(line.rpartition("=> ")[2])


def _from_debian(target: Path) -> bool:
    """Fetches the library out of Debian's package; unpacking needs no root."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return False
    scratch = target.parent / "deb"
    scratch.mkdir()
    try:
        download = ["apt-get", "download", f"libpython{PYTHON}"]
        subprocess.run(download, cwd=scratch, capture_output=True, check=True)
        for package in scratch.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, scratch], capture_output=True, check=True)
    except subprocess.CalledProcessError:
        return False
    else:
        found = [path for path in scratch.rglob(target.name) if path.is_file()]
        if found:
            shutil.copy(found[0], target)
        return bool(found)
    finally:
        shutil.rmtree(scratch)
