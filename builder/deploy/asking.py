"""What a pod asks its own Triton, with Python's standard library and the tree that is served.

Run by the kubelet inside Triton's container (`bundle` brings it there), from nothing but the
server's own Python:

    started TREE    every version answers its probe as the release says; nobody else asks yet
    alive TREE      every version that is loaded still answers, whatever it answers

A ready endpoint says yes while the process that runs a model is dead: only an inference tells.
What is asked, and when an answer is right, is `builder.triton.probe`'s.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import WorkFailedError
from builder.servers.endpoint import (
    CONTROL_KEY,
    Access,
    Endpoint,
    RefusedError,
    UnreachableError,
)
from builder.triton import probe as probes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.triton.probe import Probe

ADDRESS = "127.0.0.1:8000"
WITHIN, STATISTICS = 10.0, 5.0
"""Seconds for all questions together, and for what Triton knows without asking a model. The
kubelet's patience has to be longer than one of the former and two of the latter."""


def started(server: Endpoint, tree: Path, within: float = WITHIN) -> list[str]:
    """What keeps the server from being what the release says; nothing once it is."""
    deadline = time.monotonic() + within
    complaints: list[str] = []
    served = list(versions(tree))
    if not served:
        return [f"{tree}: no release lies there"]
    for model, number in served:
        try:
            if (tree / model / probes.names(number)[0]).exists():
                left = max(1.0, deadline - time.monotonic())
                wrong = server.differs(_probe(tree, model, number), left)
            else:
                server.call("GET", f"/v2/models/{model}/versions/{number}/ready")
                wrong = None
        except UnreachableError as e:
            return [*complaints, str(e)]  # nobody listens yet: Triton does when all is loaded
        except (RefusedError, WorkFailedError) as e:
            wrong = str(e)
        if wrong:
            complaints.append(f"{model} {number}: {wrong}")
    return complaints


def alive(server: Endpoint, tree: Path, within: float = WITHIN) -> list[str]:
    """Which versions no longer answer; in `within` seconds not all may be asked.

    Not whether they answer rightly: that `started` has seen, and under load an answer may depend
    on its batch-mates. A request that had to wait too long is no sign of death where others were
    answered meanwhile.
    """
    deadline = time.monotonic() + within
    try:
        loaded = _loaded(server, within)
    except (UnreachableError, RefusedError, ValueError) as e:
        return [str(e)]
    asked = [version for version in versions(tree) if version in loaded]
    random.shuffle(asked)
    complaints = []
    for model, number in asked:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            question = _probe(tree, model, number)
        except WorkFailedError:
            continue  # it has none, or another release is being put there
        wrong = _dead(server, question, f"/v2/models/{model}/versions/{number}", left)
        if wrong:
            complaints.append(f"{model} {number}: {wrong}")
    return complaints


def versions(tree: Path) -> Iterator[tuple[str, int]]:
    """The models that lie in a tree, with the version numbers that its manifest names."""
    try:
        manifest = json.loads((tree / "manifest.json").read_bytes())
    except OSError:
        return
    for model, entry in sorted(manifest["models"].items()):
        if (tree / model).is_dir():
            for version in entry["versions"].values():
                yield model, int(version["number"])


def _probe(tree: Path, model: str, number: int) -> Probe:
    return probes.read(number, lambda name: (tree / model / name).read_bytes(), model)


def _loaded(server: Endpoint, within: float) -> set[tuple[str, int]]:
    body, _ = server.call("POST", "/v2/repository/index", timeout=within)
    entries: list[dict[str, Any]] = json.loads(body)
    ready = [entry for entry in entries if entry.get("state") == "READY"]
    return {(entry["name"], int(entry["version"])) for entry in ready}


def _dead(server: Endpoint, question: Probe, path: str, within: float) -> str | None:
    """Why a version is taken for dead; None for one that answers, or is only busy."""
    try:
        before = _answered(server, path)
        try:
            server.infer(question, within)
        except UnreachableError as e:
            return None if _answered(server, path) > before else str(e)
    except RefusedError as e:
        return None if e.busy else str(e)
    except (UnreachableError, ValueError) as e:
        return str(e)
    return None


def _answered(server: Endpoint, path: str) -> int:
    """How many requests a version has answered so far, anybody's."""
    body, _ = server.call("GET", f"{path}/stats", timeout=STATISTICS)
    try:
        return int(json.loads(body)["model_stats"][0]["inference_stats"]["success"]["count"])
    except (KeyError, IndexError, TypeError) as e:
        raise ValueError(f"statistics without {e}") from e


def main(arguments: Sequence[str]) -> int:
    """The command; 0 where there is nothing to complain of."""
    parser = argparse.ArgumentParser(prog="asking")
    parser.add_argument("question", choices=("started", "alive"))
    parser.add_argument("tree", type=Path)
    parser.add_argument("--address", default=ADDRESS)
    parser.add_argument("--within", type=float, default=WITHIN)
    options = parser.parse_args(arguments)
    ask = {"started": started, "alive": alive}[options.question]
    server = Endpoint(options.address, Access(control=os.environ.get(CONTROL_KEY)))
    complaints = ask(server, options.tree, options.within)
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
