"""What is observed of this machine for a plan: versions of tools, digests of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import InputError, MissingError, SeveralError
from builder.plan.toolchain import TOOLS, Toolchain
from builder.store import digests

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from builder.plan.graph import Graph
    from builder.spec.project import Project
    from builder.store.store import Store

STARTED = {"prove": ("builder.stages.prove_runner",)}
"""Modules by stage that it runs in another process, and so does not import."""


def toolchain(project: Project, runtime: Mapping[str, str]) -> Toolchain:
    """The tools as they are installed here. No tool is imported for it."""
    names = {name for tools in TOOLS.values() for name in tools}
    for spec in project.models.values():
        names |= {*spec.requires, *spec.packages}
    found = {name: version for name in names if (version := digests.distribution(name))}
    code = {stage: stage_code(stage) for stage in TOOLS}
    return Toolchain(digests.python(), found, code, runtime)


def stage_code(stage: str) -> str:
    """The digest of the builder's own code for a stage."""
    return digests.code(f"builder.stages.{stage}", *STARTED.get(stage, ()))


def files(graph: Graph, store: Store) -> dict[str, str]:
    """Digest by project file, of all that a graph's actions declare."""
    paths = sorted({path for a in graph.actions.values() for path in a.files.values()})
    found = {path: store.files.of(store.project / path) for path in paths}
    for path, digest in found.items():
        if digest == digests.MISSING:
            raise InputError("a source is missing", where=path, fix=f"create {path}")
    return found


def check_required(project: Project, models: Collection[str], toolchain: Toolchain) -> None:
    """What specs require is installed: of a name with a typo no new version would rebuild.

    Raises:
        MissingError: something is not; SeveralError where more than one thing is not.
    """
    errors = [
        MissingError(
            f"`{name}`, which {model} requires, is not installed",
            where=project.documents[model].where(("requires", number)),
            found=name,
            expected="the name of an installed distribution",
            fix=f"pip install {name}, or correct the name",
        )
        for model, spec in project.models.items()
        if model in models
        for number, name in enumerate(spec.requires)
        if name not in toolchain.distributions
    ]
    if errors:
        raise SeveralError.of(errors)


def check_weights(project: Project, store: Store) -> None:
    """Weights have the digests that their specs pin.

    Raises:
        InputError: a file has another one.
    """
    for name, spec in project.models.items():
        for version in spec.versions:
            weights = spec.weights_of(version)
            if not weights:
                continue
            path = f"models/{name}/{weights[0]}"
            found = store.files.of(project.root / path)
            if found != weights[1]:
                raise InputError(
                    "the weights have another digest than the spec pins",
                    where=path,
                    found=found,
                    expected=weights[1],
                    fix="get the right file back, or pin the new digest in weights_sha256",
                )
