"""The files that `asking` is made of, for a container that has Python and nothing of ours."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

MODULES = (
    "builder.errors",
    "builder.triton.wire",
    "builder.triton.closeness",
    "builder.triton.probe",
    "builder.servers.endpoint",
    "builder.deploy.asking",
)
"""A test holds this against what they import."""

FLAGS = ("-I", "-S", "-B")
"""How Python runs them: it looks at no environment, no site-packages, and writes no bytecode."""


@cache
def files() -> dict[str, str]:
    """Sources by name: a folder with these in it is what `python3 FLAGS FOLDER` runs."""
    found = {f"{name}.py": _source(name) for name in MODULES}
    return {"__main__.py": _source("builder.deploy.flat"), **found}


def _source(module: str) -> str:
    package, _, name = module.rpartition(".")
    return resources.files(package).joinpath(f"{name}.py").read_text("utf-8")


@cache
def digest() -> str:
    """Names the content."""
    whole = hashlib.sha256()
    for name, text in files().items():
        whole.update(f"{name} {len(text)}\n{text}".encode())
    return whole.hexdigest()[:10]
