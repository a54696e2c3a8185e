"""A graph while it is being drawn up: its actions so far, and specs as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from builder.plan.action import Action
from builder.plan.needs import needs
from builder.spec.tolerance import resolve
from builder.spec.version import number
from builder.triton.releases import release

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.plan.toolchain import Toolchain
    from builder.spec.ensemble import EnsembleSpec
    from builder.spec.model import ModelSpec
    from builder.spec.project import Project
    from builder.spec.target import Target
    from builder.spec.tolerance import Precision, Tolerance
    from builder.triton.releases import Release


@dataclass(frozen=True)
class VersionPlan:
    """Where one version's files come from: ids of actions.

    Attributes:
        artifact: what lies in the version folder; None for an ensemble.
        reference: its goldens.
        proof: its proof in the release's own runtime; None where there is none to run.
        compiled: what lies in the version folder in the artifact's place, if anything does.
    """

    version: str
    precision: str
    artifact: str | None
    reference: str
    proof: str | None
    compiled: tuple[str, ...] = ()

    @property
    def laid(self) -> tuple[str, ...]:
        """The actions whose files lie in the version folder."""
        return self.compiled or ((self.artifact,) if self.artifact else ())

    @property
    def number(self) -> int:
        """The name of Triton's folder."""
        return number(self.version)


@dataclass(frozen=True)
class ModelPlan:
    """One Triton model: its versions, and the actions of what they share.

    Attributes:
        config: writes config.pbtxt, the warm-up data and the probes.
        heldout: gives the examples of the accuracy gate; None where there is none.
    """

    name: str
    versions: tuple[VersionPlan, ...]
    config: str
    heldout: str | None = None


@dataclass(frozen=True)
class Draft:
    """Collects actions; two versions that need the same one share it."""

    project: Project
    target: Target
    toolchain: Toolchain
    actions: dict[str, Action] = field(default_factory=dict)

    @property
    def release(self) -> Release:
        """The Triton release that artifacts must load in."""
        return release(self.target.triton)

    def add(self, action: Action) -> str:
        """Adds an action; gives its id."""
        self.actions[action.id] = action
        return action.id

    def config(
        self,
        name: str,
        params: dict[str, Any],
        versions: Sequence[VersionPlan],
        layers: Mapping[str, Sequence[Tolerance]],
    ) -> str:
        """Adds the action that writes config.pbtxt, warm-up data and probes.

        Args:
            name: the model's.
            params: what its config says.
            versions: those that are served; warm-up data come from the last one's reference.
            layers: by version, what the specs say about its tolerance.
        """
        return self.add(
            Action(
                id=f"config {name}",
                stage="config",
                params={
                    **params,
                    "tolerance": {str(v.number): _bounds(v, params, layers) for v in versions},
                },
                inputs={str(v.number): v.reference for v in versions},
                tools=self.toolchain.of("config"),
                needs=needs("config"),
            )
        )


def _bounds(
    version: VersionPlan, params: Mapping[str, Any], layers: Mapping[str, Sequence[Tolerance]]
) -> dict[str, Any]:
    """How far each output of a version may lie from its golden."""
    precision = cast("Precision", version.precision)
    return {
        name: to_json(resolve(precision, name, *layers[version.version]))
        for name in params["outputs"]
    }


def tensors(spec: ModelSpec | EnsembleSpec) -> dict[str, Any]:
    """The inputs and outputs, and their order: answers without names are matched by it."""
    return {
        "inputs": to_json(spec.inputs),
        "outputs": to_json(spec.outputs),
        "order": {"inputs": list(spec.inputs), "outputs": list(spec.outputs)},
    }


def to_json(value: Any) -> Any:
    """A spec's value, or a mapping of them."""
    if isinstance(value, dict):
        return {name: item.model_dump(mode="json") for name, item in value.items()}
    return value.model_dump(mode="json", exclude_none=True)


def path_of(spec: ModelSpec, reference: str) -> str:
    """A file of a model, or `file.py:function`, relative to the project."""
    return f"models/{spec.name}/{reference}"


def files_of(spec: ModelSpec, reference: str | None) -> dict[str, str]:
    """The file of a `file.py:function` reference, by its name as its role."""
    if not reference:
        return {}
    file = reference.partition(":")[0]
    return {file: path_of(spec, file)}
