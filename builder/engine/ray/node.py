"""What runs on a node of a cluster: an action, as it would run on the machine that asks for it.

A node has a store of its own. Sources and inputs come out of the remote cache, results go
there. The actions themselves run in a worker process like any other, so that what crashes one
does not crash Ray's process, which would look like a lost node.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine.executor import Damaged
from builder.engine.observed import stage_code
from builder.engine.ray import sources
from builder.engine.worker import Worker
from builder.errors import BuilderError, MissingError
from builder.plan.evaluate import Record
from builder.servers.embedded import runtime
from builder.store import digests
from builder.store import store as places
from builder.store.blobs import DamagedError
from builder.store.digests import cache_folder
from builder.store.records import encode
from builder.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.engine.executor import Answer, Order
    from builder.plan.action import Action

RUNTIME = "prove"
"""The stage that runs in the target release's own runtime."""

GATEWAY = "triton-builder-ray-"
"""How the name of the folder begins that the driver's process works in."""


@dataclass(frozen=True)
class Site:
    """What every node must know of a build.

    Attributes:
        remote: the remote cache's URL.
        release: the target's Triton release.
        sources: the name of the project's tree in the remote cache.
    """

    remote: str
    release: str
    sources: str


def perform(order: Order, site: Site) -> Answer:
    """Does an action on this node."""
    try:
        return _desk(site, os.environ.get("CUDA_VISIBLE_DEVICES")).perform(order)
    except BuilderError as e:
        e.where = f"{e.where or order.action.id}, on {socket.gethostname()}"
        return e


def check_tools(action: Action, release: str) -> None:
    """The tools of an action are here as they are where its key was made.

    Raises:
        MissingError: one is not; the result would not be what the key says.
    """
    servers = runtime.identity(release) if action.stage == RUNTIME else {}
    for tool, version in action.tools.items():
        here = _version(tool, action.stage, servers)
        if here != version:
            raise MissingError(
                f"{_TITLES.get(tool, tool)} differs between this machine and a node",
                where=action.id,
                found=here,
                expected=version,
                fix=_FIXES.get(tool, f"pip install {tool}=={version} on the node").format(version),
            )


_TITLES = {"builder": "triton-builder's own code", "python": "Python"}
_FIXES = {
    "builder": "install the same triton-builder on the node",
    "python": "start the node with Python {}",
}


def _version(tool: str, stage: str, servers: Mapping[str, str]) -> str:
    if tool == "python":
        return digests.python()
    if tool == "builder":
        return stage_code(stage)
    if tool.startswith("server "):
        return servers.get(tool.removeprefix("server "), "not known")
    return digests.distribution(tool) or "not installed"


class _Desk:
    """One process of Ray's on a node, with a worker of ours beside it."""

    def __init__(self, site: Site) -> None:
        from builder.remote.cache import Remote

        _leave_ray()
        self._site = site
        self._warnings: list[str] = []
        self._remote = Remote(site.remote, read_only=False, warn=self._warnings.append)
        root = cache_folder() / "store"
        project = places.sources(root) / site.sources
        self._store = Store(root, project, remote=self._remote)
        self._life = ExitStack()  # until the process ends: `gc` drops nothing that it uses
        self._life.enter_context(self._store.leases.take())
        self._worker: Worker | None = None

    def perform(self, order: Order) -> Answer:
        """Does an action; its result is in the remote cache before it is told.

        Raises:
            BuilderError: this node cannot do it.
        """
        check_tools(order.action, self._site.release)
        try:
            sources.lay_out(self._site.sources, self._store.project, self._store, self._remote)
            self._check_files(order)
            for record in order.inputs.values():
                self._store.fetch(record.outputs)
        except DamagedError as e:
            if not self._remote.alive:
                raise self._cut_off() from e
            return Damaged(e.digest)
        if order.action.stage == RUNTIME:
            here = runtime.ensure(self._site.release, cache_folder(), print)
            order = replace(order, runtime=here)
        answer = self._work(order)
        if isinstance(answer, Record):
            blobs = {sha: self._store.blobs.path(sha) for sha, _ in answer.outputs.values()}
            if not self._remote.push(answer.key, encode([answer]), blobs):
                raise self._cut_off()
        return answer

    def _work(self, order: Order) -> Answer:
        if self._worker is None:
            self._worker = Worker(self._store)
        self._worker.give(order)
        answer = self._worker.result()
        if self._worker.spent:
            self._worker.stop()
            self._worker = None
        return answer

    def _check_files(self, order: Order) -> None:
        """Files are as they were when the key was made.

        Raises:
            MissingError: one changed since, or does not travel.
        """
        for path, expected in order.ingredients["files"].values():
            found = self._store.files.of(self._store.project / path)
            if found != expected:
                raise MissingError(
                    "a source is not on the node as it was when the build began",
                    where=path,
                    found=found,
                    expected=expected,
                    fix="hidden files and folders do not travel: give it another name"
                    if found == digests.MISSING
                    else "build again; do not edit sources while a build runs",
                )

    def _cut_off(self) -> BuilderError:
        return MissingError(
            "a node cannot use the remote cache",
            found=self._site.remote,
            expected="an address that every node can read and write",
            fix="give the nodes credentials of their own, and an address that is the same there",
            detail="\n".join(self._warnings),
        )


def _leave_ray() -> None:
    """Takes off the path what Ray put there: its own packages, and the gateway's folder."""
    import ray

    home = Path(ray.__file__).parent
    sys.path[:] = [
        entry
        for entry in sys.path
        if not Path(entry).is_relative_to(home) and not Path(entry).name.startswith(GATEWAY)
    ]


@cache
def _desk(site: Site, devices: str | None) -> _Desk:  # noqa: ARG001 - other GPUs, other worker
    return _Desk(site)
