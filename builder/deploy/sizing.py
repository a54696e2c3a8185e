"""How long a pod may take to start, and how much it needs. Pure: decisions with their reasons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.deploy.lanes import Pods
    from builder.deploy.settings import Deployment
    from builder.report.measured import Measured

UNMEASURED = 15.0
"""Seconds that a model takes to load where no report tells: MiniLM on two cores takes five."""

READ = 50e6
"""Bytes a second that a busy node reads a release at that is in no cache of its."""

LEAST = 60
"""Seconds that any pod may take."""

STEP = 10
"""Figures differ from run to run; manifests should not."""

MEMORY_MARGIN, LEAST_MEMORY = 1.5, 2**30
"""Of what was measured, and what Triton itself takes at least."""

UNMEASURED_MEMORY, EXPANSION = 2 * 2**30, 6
"""Where nothing was measured: Triton with a few Python processes, and this many times the files.
The models of this repository, 0.26 GB, were seen to take 3.5 GB."""

PULLING = 512 * 2**20
"""For `pull` and `agent`, whatever the size of a release."""

SLACK = 64 * 2**20


@dataclass(frozen=True)
class Startup:
    """Seconds until a pod must answer, and why so many."""

    seconds: int
    reason: str


def startup(pods: Pods, settings: Deployment, measured: Measured) -> Startup:
    """The budget of the startup probe: it begins when Triton starts, after the pull."""
    given = settings.probing.load
    if given is not None:
        return Startup(_up(given / 1e6), "as the settings say")
    margin = settings.probing.margin
    known = [measured.loads[name] for name in pods.models if name in measured.loads]
    guessed = len(pods.models) - len(known)
    load = sum(known) + guessed * UNMEASURED
    reading = 0.0 if settings.volume == "memory" else pods.size / READ
    seconds = margin * load + reading
    parts = []
    if known:
        parts.append(f"{sum(known):.1f} s measured for {len(known)} models")
    if guessed:
        parts.append(f"{UNMEASURED:g} s each for {guessed} models without a measurement")
    reason = f"{' and '.join(parts)}, times {margin:g}"
    if reading:
        reason += f", and {pods.size / 1e6:.0f} MB read at {READ / 1e6:.0f} MB/s"
    if seconds < LEAST:
        reason += f"; at least {LEAST} s"
    return Startup(_up(max(seconds, LEAST)), reason)


def memory(pods: Pods, settings: Deployment, measured: Measured) -> int:
    """Bytes that Triton may use. What a memory volume holds counts as its own after the pull."""
    given = pods.resources.memory
    if given is not None:
        return given
    copies = 2 if settings.agent else 1  # what is new is loaded beside what is served
    seen = _seen(pods, measured)
    if seen is not None:
        found = max(LEAST_MEMORY, seen) * MEMORY_MARGIN * copies
    else:
        found = UNMEASURED_MEMORY + EXPANSION * pods.size * copies
    if settings.volume == "memory":
        found += volume(pods, settings)
    return _mebibytes(found)


def _seen(pods: Pods, measured: Measured) -> float | None:
    """Bytes that Triton holds with these models, as far as it was measured.

    By model, where that is known of each; else by the size of their files, which says little: the
    models of this repository that take most of the memory have half of the bytes.
    """
    if measured.server is not None and all(name in measured.held for name in pods.models):
        return measured.server + sum(measured.held[name] for name in pods.models)
    return None if measured.memory is None else measured.memory * pods.share


def pulling(pods: Pods, settings: Deployment) -> int:
    """Bytes that `pull` and `agent` may use: a memory volume's are theirs who write."""
    return _mebibytes(PULLING + (volume(pods, settings) if settings.volume == "memory" else 0))


def volume(pods: Pods, settings: Deployment) -> int:
    """Bytes that a release takes; an agent has the next one and the last one beside it."""
    return _mebibytes((3 if settings.agent else 1) * pods.size * 1.05 + SLACK)


def _up(seconds: float) -> int:
    return math.ceil(seconds / STEP) * STEP


def _mebibytes(size: float) -> int:
    return math.ceil(size / 2**20) * 2**20
