"""What every command on a built project starts from: specs, plan, store, server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from builder.engine import observed
from builder.errors import InputError
from builder.plan.graph import graph
from builder.servers.embedded import install
from builder.servers.embedded import runtime as runtimes
from builder.spec import project as projects
from builder.store.digests import cache_folder
from builder.store.store import Store
from builder.triton.releases import release

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from builder.flow.contained import Contained
    from builder.plan.graph import Graph
    from builder.plan.toolchain import Toolchain
    from builder.remote.cache import Remote as Cache
    from builder.servers.embedded.install import Installation
    from builder.spec.project import Project
    from builder.spec.target import Target


_SETTING = "pyproject.toml [tool.triton-builder] remote-cache"


@dataclass(frozen=True)
class Context:
    """A project as it stands, seen for one target.

    Attributes:
        names: the models and ensembles asked for, with their members.
        partial: whether that is less than all.
        files: digest by project file.
        runtime: what the target's server is made of.
        urls: where a server runs that stands in for the target's own; none as a rule.
    """

    project: Project
    target_name: str
    target: Target
    names: frozenset[str]
    partial: bool
    toolchain: Toolchain
    graph: Graph
    files: Mapping[str, str]
    store: Store
    runtime: Mapping[str, str]
    urls: tuple[str, ...] = ()

    @property
    def repository(self) -> Path:
        """Where the target's repository lies."""
        place = self.project.root / "repository" / self.target_name
        return place.resolve() if place.is_symlink() else place

    @property
    def reports(self) -> Path:
        """The folder that reports go to."""
        return self.project.root / "repository"

    def prover(self, say: Callable[[str], None]) -> Path:
        """The interpreter that holds the release's ONNX Runtime, installed if it is not yet."""
        return runtimes.ensure(self.target.triton, cache_folder(), say)

    def install(self, say: Callable[[str], None]) -> Installation:
        """The target's server on this machine, installed if it is not yet."""
        return install.ensure(self.target.triton, cache_folder(), say)

    @cached_property
    def contained(self) -> Contained:
        """The target's container."""
        from builder.flow.contained import Contained

        return Contained(self.target, _where(self.target_name))

    def proven_on(self, say: Callable[[str], None]) -> Mapping[str, str]:
        """What the server under test is made of, beyond `runtime`; an engine is asked only here.

        Raises:
            MissingError: there is no engine, or no such image.
        """
        if self.target.server != "container" or self.urls:
            return {}
        return self.contained.identity(say)


def context(
    root: Path,
    target: str | None,
    names: Sequence[str] = (),
    warn: Callable[[str], None] = lambda _: None,
) -> Context:
    """Reads a project and plans for a target.

    Args:
        root: the project's folder.
        target: a target's name; the default one if None.
        names: models and ensembles; all if none.
        warn: told what the remote cache has to complain of.

    Raises:
        InputError: the specs, the target or a name is wrong.
        MissingError: the target's kind of server is not to be had.
    """
    project = projects.load(root)
    target_name, chosen = project.target(target)
    release(chosen.triton, f"{_where(target_name)} triton")
    wanted = project.closure(names)
    runtime = _runtime(project, target_name, chosen, wanted)
    toolchain = observed.toolchain(project, runtime)
    store = Store(cache_folder() / "store", project.root, target_name, _remote(project, warn))
    actions = graph(project, chosen, toolchain, wanted)
    files = observed.files(actions, store)
    observed.check_weights(project, store)
    everything = {*project.models, *project.ensembles}
    return Context(
        project,
        target_name,
        chosen,
        wanted,
        wanted != everything,
        toolchain,
        actions,
        files,
        store,
        runtime,
    )


def _where(target_name: str) -> str:
    return f"pyproject.toml [tool.triton-builder.targets.{target_name}]"


def _runtime(
    project: Project, target_name: str, target: Target, names: Collection[str]
) -> Mapping[str, str]:
    """What artifacts are proven in, and an embedded target's versions as well."""
    if target.server == "embedded":
        return install.identity(target.triton)
    specs = [spec for name, spec in project.models.items() if name in names]
    if any(spec.format != "python" for spec in specs):
        runtimes.check(target.triton, f"{_where(target_name)} triton")
    return runtimes.identity(target.triton)


def _remote(project: Project, warn: Callable[[str], None]) -> Cache | None:
    """The remote cache that the environment or the settings name.

    $TRITON_BUILDER_REMOTE_CACHE counts before the settings; `off` means none.
    $TRITON_BUILDER_REMOTE_CACHE_READ_ONLY, if set to anything but 0, false or no, forbids.
    """
    own = os.environ.get("TRITON_BUILDER_REMOTE_CACHE")
    url = own or project.settings.remote_cache
    if not url or own == "off":
        return None
    from builder.remote.cache import Remote, check_url

    try:
        check_url(url)
    except InputError as e:
        e.where = "$TRITON_BUILDER_REMOTE_CACHE" if own else _SETTING
        raise
    forbidden = os.environ.get("TRITON_BUILDER_REMOTE_CACHE_READ_ONLY", "0") not in (
        "",
        "0",
        "false",
        "no",
    )
    read_only = forbidden or project.settings.remote_cache_read_only
    return Remote(url, read_only=read_only, warn=warn)
