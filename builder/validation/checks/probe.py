"""The probe in the tree, asked with nothing but the tree: what ships can be asked by anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.servers.endpoint import Endpoint, UnreachableError
from builder.servers.endpoint import RefusedError as Refusal
from builder.validation.case import ATTEMPTS
from builder.validation.client import PATIENCE, RefusedError
from builder.validation.verdict import failed, passed

if TYPE_CHECKING:
    from builder.validation.case import Case
    from builder.validation.verdict import Finding


def probe(case: Case) -> Finding | None:
    """The very bytes of the version's probe are answered as it says, by plain HTTP."""
    asked = case.version.probe
    if asked is None:
        return None
    endpoint = Endpoint(case.server.http, case.server.access)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            reason = endpoint.differs(asked, PATIENCE)
            break
        except UnreachableError as e:
            reason = str(e)
            break
        except Refusal as e:
            refusal = RefusedError(str(e.status), e.message)
            if attempt == ATTEMPTS or not case.excuses(refusal):
                raise refusal from e
    if reason:
        return failed(
            "probe",
            "the probe in the tree is not answered as it says",
            expected="the golden inference of the version, within its bounds",
            found=reason,
        )
    size = len(asked.body)
    return passed("probe", f"{size} bytes posted", "answered as the tree says", bytes=size)
