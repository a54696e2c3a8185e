"""A stage in a container: for what only an image has, as NVIDIA's has the TensorRT of a release.

The container gets the builder's own code, the action's inputs, read-only, and a folder for its
outputs; no network, and a GPU if the action needs one. The code runs in the image's own Python,
with what is installed there: it must be a stage that asks for no more than that.

It takes as long as it takes, as it would in a process, and ends as it would there: with the worker.
What a worker has started dies with it, but for a container, whose parent is the engine: `keeper`
removes that one.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import builder
from builder import errors
from builder.errors import BuilderError, MissingError, WorkFailedError
from builder.servers.containers import isolation, owner
from builder.servers.containers.engine import find
from builder.servers.containers.server import ABSENT, KEEPER
from builder.servers.containers.trouble import NO_PROGRAM, trouble
from builder.servers.guard import Guard
from builder.servers.output import Output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.plan.action import Action
    from builder.servers.containers.engine import Engine, Image
    from builder.stages.job import Job

CODE, WORK, KEPT = "/triton-builder/code", "/triton-builder/work", "/triton-builder/kept"
RUNNER = "contained_runner.py"
ORDER, ANSWER = "order.json", "answer.json"
WHERE = "pyproject.toml [tool.triton-builder.targets] tensorrt.builder-image"

FOLDERS = ("TRITON_BUILDER_TIMING_CACHE",)
"""Variables that name a folder which a stage keeps something in."""


def run(action: Action, job: Job) -> Mapping[str, Any]:
    """Does an action's stage in a container of the image that it asks for; gives its facts.

    Args:
        action: with `needs.image`.
        job: its `inputs` and `out` lie in one folder, which the container sees.

    Raises:
        BuilderError: the stage's own; or there is no engine, no such image, no GPU to give.
    """
    engine = find()
    if engine.host:
        raise MissingError(
            "an engine elsewhere builds no plan: it does not see this machine's files",
            where=action.id,
            found=engine.host,
            expected="an engine of this machine",
            fix="build on that machine, or let a cluster do it: --executor ray",
        )
    owner.collect(engine)
    image = engine.image(action.needs.image or "", lambda text: print(text, flush=True), WHERE)
    work = job.out.parent
    order = {
        "stage": action.stage,
        "params": job.params,
        "inputs": {label: _inside(path, work) for label, path in job.inputs.items()},
        "out": _inside(job.out, work),
        "where": job.where,
    }
    (work / ORDER).write_text(json.dumps(order), encoding="utf-8")
    said = _ran(engine, action, image, _arguments(engine, action, image, job))
    answer = work / ANSWER
    if not answer.exists():
        raise _silent(action, said)
    told = json.loads(answer.read_text(encoding="utf-8"))
    if "facts" in told:
        return {**told["facts"], "image": image.digest}
    raise _error(told, action)


def _inside(path: Path, work: Path) -> str:
    """Where the container sees a file of the action's folder."""
    return f"{WORK}/{path.relative_to(work)}"


def _ran(engine: Engine, action: Action, image: Image, arguments: Sequence[str]) -> str:
    """What a container printed, which is gone by then.

    It is created before it is started: killed in between, nothing is left that runs.
    """
    container = f"triton-builder-{secrets.token_hex(6)}"
    order = {
        "parent": os.getpid(),
        "stop": None,
        "remove": [engine.program, *owner.removal(engine), container],
        "absent": ABSENT,
    }
    removal = Output()
    guard = Guard(KEEPER, order, removal.file)
    try:
        for command in (["create", f"--name={container}", *arguments], ["start", container]):
            done = engine.attempt(*command)
            if re.search(NO_PROGRAM, done.err):
                raise _silent(action, done.err)
            if done.code:
                raise trouble(engine.kind, done, image=image.name, where=WHERE)
        engine.attempt("wait", container, seconds=None)
        return engine.attempt("logs", container).err
    finally:
        if guard.dismiss():
            print(removal.text(), flush=True)
        removal.close()


def _arguments(engine: Engine, action: Action, image: Image, job: Job) -> list[str]:
    """Of the command that creates the container."""
    work = job.out.parent
    binds = [(Path(builder.__file__).parent, f"{CODE}/builder", True), (work, WORK, False)]
    binds += [(path, _inside(path, work), True) for path in job.inputs.values()]
    named = []
    for variable in FOLDERS:
        if folder := os.environ.get(variable):
            Path(folder).mkdir(parents=True, exist_ok=True)
            binds.append((Path(folder), f"{KEPT}/{variable}", False))
            named.append(f"--env={variable}={KEPT}/{variable}")
    return [
        "--pull=never",
        f"--label={owner.LABEL}={owner.Owner.me().label}",
        "--network=none",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        *(("--security-opt=label=disable",) if engine.kind == "podman" else ()),
        f"--user={'0:0' if engine.rootless else f'{os.geteuid()}:{os.getegid()}'}",
        "--env=HOME=/tmp",
        *named,
        *(
            f"--mount=type=bind,src={folder.absolute()},dst={place}{',readonly' if fixed else ''}"
            for folder, place, fixed in binds
        ),
        *(isolation.gpus(engine.kind, "all") if action.needs.gpus else ()),
        "--entrypoint=python3",
        image.id,
        "-B",
        f"{CODE}/builder/engine/{RUNNER}",
        WORK,
    ]


def _error(told: Mapping[str, Any], action: Action) -> BuilderError:
    kind = getattr(errors, told.get("kind", ""), None)
    if isinstance(kind, type) and issubclass(kind, BuilderError):
        error: BuilderError = kind(**told["parts"])
        return error
    return WorkFailedError(
        told["parts"]["problem"],
        where=action.id,
        found=f"in {action.needs.image}",
        detail=told["parts"].get("detail"),
    )


def _silent(action: Action, said: str) -> WorkFailedError:
    return WorkFailedError(
        "the container ended without an answer",
        where=action.id,
        found=f"nothing from {action.needs.image}",
        expected="a Python in the image, 3.10 or newer, as `python3`",
        detail=said[-2000:] or None,
    )
