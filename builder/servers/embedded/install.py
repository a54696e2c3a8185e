"""NVIDIA's tritonserver out of a PyPI wheel, and the environment that its Python stub loads.

Installed once per release into the user's cache. What an installation is (`identity`)
is known without installing; `ensure` makes it so. How it is started: `embedded`.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder.errors import MissingError
from builder.servers.embedded import environment, libpython, programs
from builder.servers.embedded.libpython import PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LAYOUT = 3  # raised when what lies in an installation changes


@dataclass(frozen=True)
class Pins:
    """What a Triton release's embedded server is made of.

    Attributes:
        server: the version of tritonserver inside the wheel.
        wheel: the requirement whose wheel carries tritonserver.
        packages: what the Python stub's environment holds, by distribution: the versions
            of the release's container.
        pythons: Python versions that both the stub and the packages exist for.
    """

    server: str
    wheel: str
    packages: Mapping[str, str]
    pythons: tuple[str, ...]


RELEASES: Mapping[str, Pins] = {
    "24.10": Pins(
        server="2.51.0",
        wheel="nvidia-pytriton==0.7.0",
        # NumPy 2 corrupts tensors in this release's stub.
        packages={"onnxruntime": "1.19.2", "numpy": "1.26.4"},
        pythons=("3.10", "3.11", "3.12"),
    ),
}


@dataclass(frozen=True)
class Installation:
    """An embedded server on this machine, ready to start.

    Attributes:
        release: the Triton release, `24.10`.
        server_version: tritonserver's own version, `2.51.0`.
        root: the folder that holds it all.
        tritonserver: the binary.
        libraries: folders for LD_LIBRARY_PATH.
        backends: a folder with the Python backend in it.
        runtime: the interpreter of the stub's environment.
        identity: what it is in versions, and no paths; see `identity`.
    """

    release: str
    server_version: str
    root: Path
    tritonserver: Path
    libraries: tuple[Path, ...]
    backends: Path
    runtime: Path
    identity: Mapping[str, str] = field(hash=False)


def identity(release: str) -> Mapping[str, str]:
    """What can change an answer of this release's embedded server; installs nothing.

    Raises:
        MissingError: the release has no embedded server, or none for this Python.
    """
    pins = _pins(release)
    return {"tritonserver": pins.server, **pins.packages, "python": PYTHON}


def ensure(release: str, cache: Path, say: Callable[[str], None]) -> Installation:
    """The installation of a release below `cache`, made where it is not there yet.

    Safe where several processes ask at once; one that was killed half-way is redone.

    Raises:
        MissingError: the release, the platform, the network or libpython is missing.
        WorkFailedError: the disk is full.
    """
    programs.resume()
    pins = _pins(release)
    root = cache.absolute() / "servers" / f"{release}-{_digest(pins)}"
    installation = _laid_out(root, release, pins)
    if _complete(installation):
        return installation
    _check_platform(release)

    def make(work: Path) -> None:
        say(f"installing tritonserver {pins.server} ({release}), once, into {root}")
        _install(work, release, pins)

    environment.once(
        root,
        lambda: _complete(installation),
        make,
        what="the embedded Triton server",
        size="500 MB",
    )
    return installation


def _pins(release: str) -> Pins:
    pins = RELEASES.get(release)
    if pins is None:
        raise MissingError(
            "there is no embedded server for this Triton release",
            found=release,
            expected=", ".join(sorted(RELEASES)),
            fix="set the target's `triton` to one of these, or its `server` to `container`",
        )
    if PYTHON not in pins.pythons:
        raise MissingError(
            f"the embedded server of Triton {release} does not go with this Python",
            found=PYTHON,
            expected=", ".join(pins.pythons),
            fix=f"python{pins.pythons[-1]} -m venv .venv && "
            ".venv/bin/pip install 'triton-builder[build]', and use that one",
        )
    return pins


def _laid_out(root: Path, release: str, pins: Pins) -> Installation:
    return Installation(
        release=release,
        server_version=pins.server,
        root=root,
        tritonserver=root / "server" / "bin" / "tritonserver",
        libraries=(root / "server" / "lib",),
        backends=root / "server" / "backends",
        runtime=root / "runtime" / "bin" / "python",
        identity=identity(release),
    )


def _digest(pins: Pins) -> str:
    parts = [LAYOUT, PYTHON, pins.server, pins.wheel, sorted(pins.packages.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _complete(installation: Installation) -> bool:
    """Whether it is there: it appears whole, but the Python it stands on may have gone since."""
    library = installation.libraries[0] / libpython.NAME
    return all(path.exists() for path in (installation.runtime, installation.tritonserver, library))


def _check_platform(release: str) -> None:
    found = f"{platform.system()} {platform.machine()}"
    if found != "Linux x86_64":
        raise MissingError(
            f"the embedded server of Triton {release} does not run here",
            found=found,
            expected="Linux x86_64",
            fix="build in a Linux x86_64 container or machine, or set the target's `server` to "
            "`container`",
        )


def _install(root: Path, release: str, pins: Pins) -> None:
    installation = _laid_out(root, release, pins)
    runtime = environment.create(root / "runtime", pins.packages)
    _leave_repositories_alone(runtime)
    environment.download(runtime, pins.wheel, root)
    for wheel in root.glob("*.whl"):
        _unpack(wheel, root / "server")
        wheel.unlink()
    installation.tritonserver.chmod(0o755)
    (installation.backends / "python" / "triton_python_backend_stub").chmod(0o755)
    libpython.provide(installation.libraries[0])


def _leave_repositories_alone(runtime: Path) -> None:
    """Keeps Python models from writing `__pycache__` into the repository that is served.

    The stub starts Python without looking at PYTHONDONTWRITEBYTECODE; `site` it does import. A
    `.pth` file and no sitecustomize.py: Debian's Python comes with one, which is found first.
    """
    folder = runtime.parent.parent / "lib" / f"python{PYTHON}" / "site-packages"
    text = "import sys; sys.dont_write_bytecode = True\n"
    (folder / "no_bytecode.pth").write_text(text, encoding="utf-8")


def _unpack(wheel: Path, server: Path) -> None:
    """The parts of the wheel that make a server, laid out as `Installation` says."""
    places = {
        "nvidia_pytriton.libs/": "lib/",
        "pytriton/tritonserver/bin/": "bin/",
        "pytriton/tritonserver/backends/python/": "backends/python/",
        "pytriton/tritonserver/caches/": "caches/",
        f"pytriton/tritonserver/python_backend_stubs/{PYTHON}/": "backends/python/",
    }
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            for prefix, place in places.items():
                if member.filename.startswith(prefix) and not member.is_dir():
                    target = server / place / member.filename.removeprefix(prefix)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(member) as source, target.open("wb") as out:
                        shutil.copyfileobj(source, out, 1 << 20)
