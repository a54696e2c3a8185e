"""Which pods a release is served by: one kind for all models, or one a lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.errors import InputError
from builder.spec.document import suggestion

if TYPE_CHECKING:
    from builder.deploy.settings import Deployment, Replicas, Resources
    from builder.repository.manifest import Manifest


@dataclass(frozen=True)
class Pods:
    """One kind of pod.

    Attributes:
        name: of its Deployment, its Service and all else.
        models: what it serves, members of ensembles included, in order.
        wanted: what it is told to pull; nothing for all of the release.
        size: bytes of their files.
        share: of the bytes of the whole release.
    """

    name: str
    models: tuple[str, ...]
    wanted: tuple[str, ...]
    size: int
    share: float
    resources: Resources
    replicas: Replicas


def pods(manifest: Manifest, settings: Deployment, name: str) -> tuple[Pods, ...]:
    """All kinds of pods, in the order of the settings.

    Raises:
        InputError: a lane has a model that the release has not, or a model has no lane.
    """
    if not settings.lanes:
        own = tuple(sorted(manifest.models))
        size = _size(manifest, own)
        return (Pods(name, own, (), size, 1.0, settings.resources, settings.replicas),)
    whole = _size(manifest, tuple(manifest.models))
    found = []
    for lane, said in settings.lanes.items():
        for model in said.models:
            if model not in manifest.models:
                raise InputError(
                    "a lane has a model that is not in the repository",
                    where=f"lanes.{lane}.models",
                    found=model,
                    expected=", ".join(sorted(manifest.models)),
                    fix=suggestion(model, sorted(manifest.models)),
                )
        models = tuple(sorted(manifest.only(said.models).models))
        size = _size(manifest, models)
        found.append(
            Pods(
                f"{name}-{lane}",
                models,
                tuple(sorted(said.models)),
                size,
                size / whole,
                said.resources or settings.resources,
                said.replicas or settings.replicas,
            )
        )
    left = manifest.models.keys() - {model for own in found for model in own.models}
    if left:
        raise InputError(
            "no lane serves these models",
            where="lanes",
            found=", ".join(sorted(left)),
            fix="add them to a lane, or leave lanes out: then one kind of pod serves all",
        )
    return tuple(found)


def _size(manifest: Manifest, models: tuple[str, ...]) -> int:
    return sum(size for _, (_, size) in manifest.only(models).tree())
