"""Runs `asking` out of a folder of files named after modules in full, as a ConfigMap mounts them.

There it is `__main__.py`. A ConfigMap has no folders: `builder.triton.wire` lies beside it as
`builder.triton.wire.py`, and packages are what such names begin with.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path


class Flat:
    """Finds modules in a folder.

    Args:
        folder: with the files in it.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {path.name[: -len(".py")]: path for path in folder.glob("*.py")}

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> object:
        """As importlib asks; None for what is not here."""
        if name in self._files:
            return spec_from_file_location(name, self._files[name])
        if any(module.startswith(f"{name}.") for module in self._files):
            return ModuleSpec(name, None, is_package=True)
        return None


def main() -> int:
    """Runs the command with this folder's modules."""
    sys.meta_path.insert(0, Flat(Path(__file__).parent))  # type: ignore[arg-type]
    status: int = import_module("builder.deploy.asking").main(sys.argv[1:])
    return status


if __name__ == "__main__":
    sys.exit(main())
