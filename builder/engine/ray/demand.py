"""What an action needs, in Ray's terms, and whether a cluster could ever give it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.errors import BuilderError, MissingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.plan.action import Action

SHARE = 0.001
"""What is asked of a resource that only marks a kind of node."""

ACCELERATORS: Mapping[str, tuple[str, ...]] = {
    "7.0": ("V100",),
    "7.5": ("T4",),
    "8.0": ("A100", "A100-40G", "A100-80G"),
    "8.6": ("A10", "A10G"),
    "8.9": ("L4", "L40S"),
    "9.0": ("H100", "H200", "H20"),
    "10.0": ("B200",),
}
"""Ray's names of accelerators (`ray.util.accelerators`) by compute capability."""


def demand(action: Action, nodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What an action needs, in Ray's terms: CPU, memory, GPU and marks of nodes.

    A compute capability is a resource `compute_capability:9.0` where a node offers that, else
    one of the accelerators that Ray finds out by itself.
    """
    needs = action.needs
    wanted: dict[str, float] = {"CPU": needs.cpus, "memory": needs.memory, "GPU": needs.gpus}
    if needs.capability:
        mark = f"compute_capability:{needs.capability}"
        kinds = [f"accelerator_type:{kind}" for kind in ACCELERATORS.get(needs.capability, ())]
        offered = {name for node in nodes if node["Alive"] for name in node["Resources"]}
        wanted[next((name for name in (mark, *kinds) if name in offered), mark)] = SHARE
    return {name: amount for name, amount in wanted.items() if amount}


def infeasible(action: Action, nodes: Sequence[Mapping[str, Any]]) -> BuilderError | None:
    """Why no node of a cluster could ever run an action; None where one could."""
    wanted = demand(action, nodes)
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if any(all(node.get(k, 0) >= v for k, v in wanted.items()) for node in alive):
        return None
    marks = [f"{k}: {v:g}" for k, v in wanted.items() if v != SHARE]
    marks += [k for k, v in wanted.items() if v == SHARE]
    return MissingError(
        "no node of the Ray cluster can run this",
        where=action.id,
        found=f"{len(alive)} nodes: " + "; ".join(_offer(node) for node in alive),
        expected=", ".join(marks),
        fix="add such a node (ray start --address=... --num-gpus=1 --resources="
        "'{\"compute_capability:9.0\": 1}'), or keep one up where the cluster scales by itself",
    )


def _offer(node: Mapping[str, float]) -> str:
    shown = {k: v for k, v in node.items() if not k.startswith(("node:", "object_store"))}
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(shown.items()))
