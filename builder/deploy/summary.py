"""What manifests amount to, in a few values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.deploy import lanes, sizing
from builder.deploy.quantities import size

if TYPE_CHECKING:
    from builder.deploy.context import Context


def summary(context: Context) -> dict[str, Any]:
    """The release, what pods pull, and of each kind of pod what was decided, with the reason."""
    found = []
    for pods in lanes.pods(context.manifest, context.settings, context.name):
        startup = sizing.startup(pods, context.settings, context.measured)
        found.append(
            {
                "name": pods.name,
                "models": list(pods.models),
                "startup": f"{startup.seconds} s ({startup.reason})",
                "memory": size(sizing.memory(pods, context.settings, context.measured)),
                "volume": size(sizing.volume(pods, context.settings)),
            }
        )
    return {"release": context.release, "follows": context.follows, "pods": found}
