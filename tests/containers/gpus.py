"""GPUs as the NVIDIA Container Toolkit gives them, where there are none: by CDI.

What a container gets of a device here is `nvidia-smi`, which tells of it; CUDA it cannot use. The
device has a name of its own, so that whoever asks for `all` still finds none.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path("/var/run/cdi")
SCRIPT = """\
#!/bin/sh
test "$1" = --query-gpu=uuid,compute_cap,memory.total,memory.free || exit 2
test "$2" = --format=csv,noheader,nounits || exit 2
echo "GPU-71ce41fd-3ac0-afe7-c995-21119f1e984a, {capability}, 16160, {free}"
"""


@contextlib.contextmanager
def device(scratch: Path, capability: str, free: int = 16000) -> Iterator[str]:
    """A device; its name in `nvidia.com/gpu=`.

    Args:
        scratch: for files that the container sees, as long as it runs.
        capability: its compute capability.
        free: MiB of its memory that nobody has.
    """
    name = f"tb{secrets.token_hex(6)}"
    program = scratch / f"{name}-nvidia-smi"
    program.write_text(SCRIPT.format(capability=capability, free=free))
    program.chmod(0o755)
    mount = {
        "hostPath": str(program),
        "containerPath": "/usr/bin/nvidia-smi",
        "options": ["ro", "nosuid", "nodev", "bind"],
    }
    spec = {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": name, "containerEdits": {"mounts": [mount]}}],
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"{name}.json"
    file.write_text(json.dumps(spec))
    try:
        yield name
    finally:
        file.unlink()
