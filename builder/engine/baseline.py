"""What every action of a worker starts from, whatever the one before it has left behind.

A source may change the working directory, the environment, where modules are looked for, or how
torch and numpy compute. The next action, perhaps another model's, must not depend on that. What
a source changes inside a library (a function put in another's place) stays: a worker to which that
has happened is given nothing more (see `stages.usercode.libraries`).
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class Baseline:
    """The state of a process as it is now, and the project's folder as working directory."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._environ = dict(os.environ)
        self._path = list(sys.path)

    def restore(self) -> None:
        """Goes back to it."""
        os.chdir(self._project)
        for name in os.environ.keys() - self._environ.keys():
            del os.environ[name]
        for name, value in self._environ.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        sys.path[:] = self._path
        if "numpy" in sys.modules:
            numpy: Any = sys.modules["numpy"]
            numpy.seterr(divide="warn", over="warn", under="ignore", invalid="warn")
        torch: Any = sys.modules.get("torch")
        if torch is not None and hasattr(torch, "set_default_dtype"):
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)
