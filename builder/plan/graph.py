"""The graph of actions for a target, from its specs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.plan import ensembles, models
from builder.plan.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from builder.plan.action import Action
    from builder.plan.draft import ModelPlan
    from builder.plan.toolchain import Toolchain
    from builder.spec.project import Project
    from builder.spec.target import Target


@dataclass(frozen=True)
class Graph:
    """All actions of a build by id, inputs first, and what they make up."""

    actions: Mapping[str, Action]
    models: Mapping[str, ModelPlan]


def graph(project: Project, target: Target, toolchain: Toolchain, names: Collection[str]) -> Graph:
    """The actions that the named models and ensembles need on a target.

    Raises:
        InputError: the target has no format for a model, or its release is not known.
    """
    draft = Draft(project, target, toolchain)
    plans = {n: models.plan(draft, spec) for n, spec in project.models.items() if n in names}
    plans |= {n: ensembles.plan(draft, s) for n, s in project.ensembles.items() if n in names}
    return Graph(draft.actions, plans)
