"""Models of our own that a server under test serves beside the repository.

`builder_probe_identity` gives back what it gets, in every dtype: what comes back altered was
altered by the server or by the environment of its Python stub.
"""

from __future__ import annotations

import shutil
from pathlib import Path

IDENTITY = "builder_probe_identity"
DTYPES = (
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "STRING",
)
"""Triton's names, without TYPE_; the identity has one optional input of each."""


def probes(folder: Path) -> Path:
    """Writes the probes as a repository of their own into `folder`; gives it back.

    Start the server with it beside the repository under test.
    """
    version = folder / IDENTITY / "1"
    version.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("identity.py"), version / "model.py")
    (folder / IDENTITY / "config.pbtxt").write_text(identity_config(), encoding="utf-8")
    return folder


def identity_config() -> str:
    """The identity's config.pbtxt."""
    lines = [f'name: "{IDENTITY}"', 'backend: "python"', "max_batch_size: 0"]
    for dtype in DTYPES:
        common = f"data_type: TYPE_{dtype} dims: -1"
        lines.append(f'input {{ name: "{dtype}" {common} optional: true }}')
        lines.append(f'output {{ name: "{dtype}_BACK" {common} }}')
    lines.append("instance_group { count: 1 kind: KIND_CPU }")
    return "\n".join(lines) + "\n"
