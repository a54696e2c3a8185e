"""Does one stage in a container; see `contained`.

A plain script for an image's own Python, of which it wants the standard library alone:

    python3 contained_runner.py FOLDER

FOLDER/order.json says what is to be done, FOLDER/answer.json what came of it.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
import traceback
from pathlib import Path


def main(folder: Path) -> None:
    """Reads, does, and writes what came of it."""
    sys.path[:1] = [str(Path(__file__).parents[2])]  # the builder's code; not this script's folder
    from builder.errors import BuilderError
    from builder.stages.job import Job

    order = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    inputs = {label: Path(path) for label, path in order["inputs"].items()}
    job = Job(order["params"], inputs, folder, Path(order["out"]), order["where"])
    answer: dict[str, object]
    try:
        stage = importlib.import_module(f"builder.stages.{order['stage']}")
        answer = {"facts": {**stage.run(job), "python": platform.python_version()}}
    except BuilderError as e:
        answer = {"kind": type(e).__name__, "parts": e.as_dict()}
    except Exception as e:  # noqa: BLE001 - the border of the container: nothing may pass unseen
        parts = {"problem": f"{type(e).__name__}: {e}", "detail": traceback.format_exc()}
        answer = {"kind": "", "parts": parts}
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
