"""The graph of actions for a target, from its specs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.errors import InputError
from builder.plan import ensembles, models
from builder.plan.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from builder.plan.action import Action
    from builder.plan.draft import ModelPlan
    from builder.plan.toolchain import Toolchain
    from builder.spec.project import Project
    from builder.spec.target import Target
    from builder.triton.releases import Release


@dataclass(frozen=True)
class Graph:
    """All actions of a build by id, inputs first, and what they make up."""

    actions: Mapping[str, Action]
    models: Mapping[str, ModelPlan]


def graph(project: Project, target: Target, toolchain: Toolchain, names: Collection[str]) -> Graph:
    """The actions that the named models and ensembles need on a target.

    Raises:
        InputError: the target has no format for a model, or its release is not known, or has
            not what a model or a compute capability of the target needs.
    """
    draft = Draft(project, target, toolchain)
    check(draft.release, target)
    plans = {n: models.plan(draft, spec) for n, spec in project.models.items() if n in names}
    plans |= {n: ensembles.plan(draft, s) for n, s in project.ensembles.items() if n in names}
    return Graph(draft.actions, plans)


def check(release: Release, target: Target) -> None:
    """Refuses GPUs that the target's release does not support.

    Raises:
        InputError: a compute capability is lower than the release's lowest, or that is not known.
    """
    if not target.compute_capabilities:
        return
    lowest = release.need("compute_capability")
    old = [c for c in target.compute_capabilities if _number(c) < _number(lowest)]
    if old:
        raise InputError(
            f"Triton {release.name} does not support GPUs of compute capability {', '.join(old)}",
            where="pyproject.toml [tool.triton-builder.targets] compute-capabilities",
            found=", ".join(target.compute_capabilities),
            expected=f"{lowest} or higher",
            fix=f"leave {', '.join(old)} out, or choose an older `triton` for the target: "
            "`triton-builder releases --triton` shows what each supports",
        )


def _number(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split("."))
