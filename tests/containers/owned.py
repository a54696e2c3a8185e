"""Which containers of the builder's there are, by the process that they belong to."""

from __future__ import annotations

import json
import re
import subprocess
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


def orphaned_rules(engine: Engine) -> set[str]:
    """Ids of containers that are no more, and have rules of the firewall that take their ports."""
    rules = subprocess.run(
        ["iptables-save"], env=engine.environment, capture_output=True, text=True, check=True
    ).stdout
    named = set(re.findall(r'id: \\?"([0-9a-f]{64})', rules))
    return named - set(engine("ps", "--all", "--quiet", "--no-trunc").split())
