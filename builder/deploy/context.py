"""What every manifest is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from builder.deploy.settings import Deployment
    from builder.report.measured import Measured
    from builder.repository.manifest import Manifest
    from builder.spec.target import Target

Object = dict[str, Any]
"""A manifest as plain values; dumping it is somebody else's."""


@dataclass(frozen=True)
class Context:
    """A release, the target that it was built for, and what its deployment shall be.

    Attributes:
        name: of everything that belongs to it.
        store: where releases are.
        image: Triton's.
        pull_image: the one that pulls.
        verify_key: the public key itself, PEM; None where no signature by a key is asked for.
        trust_config: the trust configuration itself; None where Sigstore is the public one.
    """

    name: str
    target: Target
    manifest: Manifest
    settings: Deployment
    measured: Measured
    store: str
    image: str
    pull_image: str
    verify_key: str | None
    trust_config: str | None

    @property
    def release(self) -> str:
        """The release's name: `sha256:<hex>`."""
        return self.manifest.digest

    @property
    def follows(self) -> str:
        """What pods pull: a channel, or this very release."""
        return self.settings.channel or self.release

    def labels(self, name: str) -> dict[str, str]:
        """What all objects of some pods carry; `selector` of them is what never changes."""
        return {
            **selector(name),
            "app.kubernetes.io/component": "inference-server",
            "app.kubernetes.io/part-of": self.name,
            "app.kubernetes.io/managed-by": "triton-builder",
        }

    def metadata(self, name: str, pods: str) -> Object:
        """The head of an object that belongs to some pods."""
        found: Object = {"name": name, "labels": self.labels(pods)}
        if self.settings.namespace:
            found["namespace"] = self.settings.namespace
        return found


def selector(name: str) -> dict[str, str]:
    """What tells some pods from all others."""
    return {"app.kubernetes.io/name": "triton", "app.kubernetes.io/instance": name}
