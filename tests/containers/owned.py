"""Which containers of the builder's there are, by the process that they belong to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from builder.servers.containers.owner import LABEL, Owner

if TYPE_CHECKING:
    from tests.containers.engine import Engine


def containers(engine: Engine, *pids: int) -> list[str]:
    """The names of those that these processes own. Other runs of the tests have theirs beside."""
    found = []
    for id_ in engine("ps", "--all", "--quiet", f"--filter=label={LABEL}").split():
        told = engine.attempt("inspect", id_)
        if told.returncode:  # another run's, just gone
            continue
        (facts,) = json.loads(told.stdout)
        owner = Owner.read(facts["Config"]["Labels"][LABEL])
        if owner and owner.pid in pids:
            found.append(facts["Name"])
    return found
