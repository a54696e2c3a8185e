"""What stages found out that makes a result not reproducible: a warning, or an error if strict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import InputError, SeveralError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from builder.plan.evaluate import Record

_FIXES: Mapping[str, str] = {
    "network": "ship what is fetched as a file of the model, or as a package in `requires`",
    "clock": "leave the time out of the model, its samples and its files",
    "randomness": "seed it: numpy.random.default_rng(0), random.Random(0), torch.manual_seed(0)",
}


def tell(records: Mapping[str, Record], ran: Collection[str], say: Callable[[str], None]) -> None:
    """Warns of what the actions that ran now have met."""
    for line in dict.fromkeys(
        f"warning: not reproducible: {hazard['where']} reads the {hazard['what']} "
        f"({hazard['call']})"
        for action in ran
        for hazard in _of(records[action])
    ):
        say(line)


def refuse(records: Mapping[str, Record]) -> None:
    """Refuses results that are not reproducible, also such as were made earlier.

    Raises:
        InputError: something is not; SeveralError where more than one thing is.
    """
    errors = [
        InputError(
            f"not reproducible: this reads the {hazard['what']}",
            where=hazard["where"],
            found=hazard["call"],
            expected="what the spec and its files say, and nothing else (--strict)",
            fix=_FIXES.get(hazard["what"]),
        )
        for record in records.values()
        for hazard in _of(record)
    ]
    if errors:
        raise SeveralError.of(errors)


def _of(record: Record) -> list[dict[str, str]]:
    found: list[dict[str, str]] = record.facts.get("unstable", [])
    return found
