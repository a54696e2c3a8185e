"""Images that the tests run, made on the spot: nothing is fetched from an image registry.

`debian` is a root file system with Python. `tritonserver` has what the embedded server has, in the
places where NVIDIA's image has it; `puller` is what pods pull releases with, built from the
container file that ships.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from builder.servers.embedded.server import BACKENDS
from tests import debian as system

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.servers.embedded.install import Installation
    from tests.containers.engine import Engine

REPOSITORY = "localhost/triton-builder-tests"
SUITE, PYTHON = "bookworm", (3, 11)
INCLUDE = ("ca-certificates", "libpython3.11", "python3", "python3-venv")
EXTRAS = "agent,sign"
"""What pods pull with, who verify identities as well."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ROOT = Path(__file__).parents[2]
TRITON = f"""\
ARG BASE
FROM $BASE
ARG PACKAGES=/usr/local/lib/python3.11/dist-packages
COPY --from=installation server/bin /opt/tritonserver/bin
COPY --from=installation server/lib /opt/tritonserver/lib
COPY --from=installation server/backends /opt/tritonserver/backends
COPY --from=installation runtime/lib/python3.11/site-packages $PACKAGES
COPY --from=backends . /opt/tritonserver/backends
RUN rm -f /opt/tritonserver/lib/libpython3.11.so.1.0 && useradd --uid 1000 triton-server
ENV PATH=/opt/tritonserver/bin:{PATH} LD_LIBRARY_PATH=/opt/tritonserver/lib
WORKDIR /opt/tritonserver
"""
"""Where things are in NVIDIA's image; its Python too has its packages among the system's own."""


TENSORRT = """\
ARG BASE
FROM $BASE
COPY --from=libraries libtriton_tensorrt.so /opt/tritonserver/backends/tensorrt/
COPY --from=libraries libnvinfer.so.* /opt/tritonserver/lib/
RUN cd /opt/tritonserver/lib && for f in libnvinfer.so.*; do ln -s $f ${f%.*.*}; done
"""
RTX = """\
ARG BASE
FROM $BASE
ARG PACKAGES=/usr/local/lib/python3.11/dist-packages
COPY --from=tensorrt_rtx . $PACKAGES/tensorrt_rtx
COPY --from=tensorrt_rtx_bindings . $PACKAGES/tensorrt_rtx_bindings
COPY --from=tensorrt_rtx_libs . $PACKAGES/tensorrt_rtx_libs
"""


def debian(engine: Engine) -> str:
    """A Debian with Python and nothing else; made in a minute where there is none yet."""
    image = f"{REPOSITORY}/debian:{SUITE}-{_digest([' '.join(INCLUDE).encode()])}"
    with FileLock(engine.data / "debian.lock"):
        if engine.has(image):
            return image
        scratch = engine.data / "debian.unfinished"
        shutil.rmtree(scratch, ignore_errors=True)  # a run that was killed
        root, archive = scratch / "root", scratch / "root.tar"
        system.bootstrap(root, SUITE, INCLUDE)
        shutil.rmtree(root / "var/cache/apt")
        system.run("tar", "--create", "--file", str(archive), "--directory", str(root), ".")
        engine("import", "--change", f"ENV PATH={PATH}", str(archive), image)
        shutil.rmtree(scratch)
    return image


def tritonserver(engine: Engine, installation: Installation) -> str:
    """The embedded server as a container's; made in half a minute where it is not yet."""
    if sys.version_info[:2] != PYTHON:
        pytest.skip(f"the server's stub is for this Python, and Debian 12 has {PYTHON}")
    sources = [TRITON.encode(), installation.root.name.encode(), *_contents(BACKENDS)]
    base = debian(engine)
    image = f"{REPOSITORY}/tritonserver:{installation.release}-{_digest([base.encode(), *sources])}"
    contexts = {"installation": installation.root, "backends": BACKENDS}
    return _built(engine, image, TRITON, base, contexts)


def tensorrt(engine: Engine, installation: Installation, version: str) -> str:
    """`tritonserver` with the files of a TensorRT where NVIDIA's image has them; they do nothing.

    The backend's asks the loader for TensorRT's library, as the real one does.
    """
    base = tritonserver(engine, installation)
    image = f"{REPOSITORY}/tensorrt:{version}-{_digest([base.encode(), TENSORRT.encode()])}"
    major = version.partition(".")[0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        backend = installation.backends / "python" / "libtriton_python.so"
        elf = backend.read_bytes()
        asked = re.search(rb"\0(libarchive-[^\0]+)\0", elf)
        assert asked
        wanted = f"libnvinfer.so.{major}".encode().ljust(len(asked[1]), b"\0")
        (folder / "libtriton_tensorrt.so").write_bytes(elf.replace(asked[1], wanted))
        some = min(installation.root.glob("server/lib/*.so*"), key=lambda lib: lib.stat().st_size)
        shutil.copy(some, folder / f"libnvinfer.so.{version}")
        return _built(engine, image, TENSORRT, base, {"libraries": folder})


def tensorrt_rtx(engine: Engine) -> str:
    """A Debian whose Python has TensorRT-RTX, where NVIDIA's image has TensorRT; no GPU."""
    found = importlib.util.find_spec("tensorrt_rtx")
    if found is None or found.origin is None or sys.version_info[:2] != PYTHON:
        pytest.skip("TensorRT-RTX is not installed here, for Debian 12's Python")
    packages = Path(found.origin).parents[1]
    version = importlib.metadata.version("tensorrt_rtx")
    base = debian(engine)
    sources = [base.encode(), version.encode(), RTX.encode()]
    image = f"{REPOSITORY}/tensorrt-rtx:{version}-{_digest(sources)}"
    names = ("tensorrt_rtx", "tensorrt_rtx_bindings", "tensorrt_rtx_libs")
    return _built(engine, image, RTX, base, {name: packages / name for name in names})


PROJECT = """\
ARG BASE
FROM $BASE AS install
COPY --from=wheels . /wheels
RUN python3 -m venv /opt/triton-builder \\
 && /opt/triton-builder/bin/python -m pip install --quiet --no-index /wheels/*.whl
FROM $BASE
COPY --from=install /opt/triton-builder /opt/triton-builder
COPY --from=project . /project
ENV PATH=/opt/triton-builder/bin:$PATH PYTHONDONTWRITEBYTECODE=1
"""


def project(engine: Engine, folder: Path) -> str:
    """A project of Python models, and what builds it: triton-builder[build] less torch and ONNX."""
    base = debian(engine)
    sources = [*_contents(ROOT / "builder"), (ROOT / "pyproject.toml").read_bytes()]
    digest = _digest([base.encode(), PROJECT.encode(), *sources, *_contents(folder)])
    with FileLock(engine.data / "wheels.lock"), tempfile.TemporaryDirectory() as scratch:
        wheels = Path(scratch)
        image = f"{REPOSITORY}/project:{digest}"
        if not engine.has(image):
            _wheels(
                engine, wheels, "project", "agent", "jinja2", "psutil", "tritonclient[grpc,http]"
            )
        contexts = {"wheels": wheels / "wheels", "project": folder}
        return _built(engine, image, PROJECT, base, contexts)


def puller(engine: Engine) -> str:
    """What pods pull releases with, out of this checkout and the container file that ships."""
    shipped = (ROOT / "builder" / "deploy" / "Containerfile").read_text()
    containerfile = shipped.replace("ARG EXTRAS=agent", f"ARG EXTRAS={EXTRAS}")  # as --build-arg
    sources = [*_contents(ROOT / "builder"), (ROOT / "pyproject.toml").read_bytes()]
    base = debian(engine)
    image = f"{REPOSITORY}/pull:{_digest([base.encode(), EXTRAS.encode(), *sources])}"
    wheels = ROOT  # replaced below where the image has to be made
    with FileLock(engine.data / "wheels.lock"), tempfile.TemporaryDirectory() as scratch:
        if not engine.has(image):
            wheels = Path(scratch)
            _wheels(engine, wheels, "pull", EXTRAS)
        return _built(engine, image, containerfile, base, {}, wheels)


def _wheels(engine: Engine, folder: Path, kind: str, *wanted: str) -> None:
    """Puts the checkout's wheel, and those of all that is wanted, into `wheels/` of a folder.

    By this machine's own pip and index; what is not the checkout's is fetched once.

    Args:
        engine: beside whose data the others are kept, under `kind`.
        folder: an empty one.
        kind: of image.
        wanted: extras of triton-builder, and other packages.
    """
    pins = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    kept = engine.data / "wheels" / kind / _digest([*pins, *(w.encode() for w in wanted)])
    extras, *more = wanted
    if not kept.exists():
        shutil.rmtree(kept.parent, ignore_errors=True)
        unfinished = kept.with_name("unfinished")
        _pip_wheel(unfinished, f"{ROOT}[{extras}]", *more)
        unfinished.rename(kept)
    shutil.copytree(kept, folder / "wheels", ignore=shutil.ignore_patterns("triton_builder-*"))
    _pip_wheel(folder / "wheels", "--no-deps", str(ROOT))


def _pip_wheel(folder: Path, *what: str) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    constraints = ("--constraint", str(ROOT / "constraints.txt"))
    command = [*pip, "wheel", *constraints, "--wheel-dir", str(folder), *what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _built(
    engine: Engine,
    image: str,
    containerfile: str,
    base: str,
    contexts: dict[str, Path],
    context: Path | None = None,
) -> str:
    with FileLock(engine.data / "build.lock"), tempfile.TemporaryDirectory() as empty:
        if not engine.has(image):
            engine(
                "build",
                "--network=none",
                "--layers=false",  # nothing stays of the stages
                f"--build-arg=BASE={base}",
                *(f"--build-context={name}={path}" for name, path in contexts.items()),
                f"--tag={image}",
                "--file=-",
                str(context or empty),
                stdin=containerfile.encode(),
            )
            _drop_older(engine, image)
    return image


def _drop_older(engine: Engine, image: str) -> None:
    """Images of the same name that earlier states of the checkout made, unless in use."""
    name = image.rpartition(":")[0]
    for other in engine("images", "--format", "{{.Repository}}:{{.Tag}}", name).split():
        if other != image:
            engine.attempt("rmi", other)


def _contents(folder: Path) -> Iterable[bytes]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield str(path.relative_to(folder)).encode()
            yield path.read_bytes()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:12]
