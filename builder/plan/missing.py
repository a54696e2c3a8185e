"""Plans that cannot be built where one is, as one error: what is missing, by model and version.

A target has a plan for each version and compute capability, and a machine without a GPU lacks the
same thing for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from builder.errors import BuilderError
    from builder.plan.action import Action


def grouped(
    failed: Mapping[str, BuilderError], actions: Mapping[str, Action]
) -> list[BuilderError]:
    """The errors of actions, those that miss one thing for several plans put together.

    Args:
        failed: by id of action; one that failed for another has that one's error.
        actions: by id.
    """
    found: list[BuilderError] = []
    alike: dict[tuple[str, ...], list[tuple[Action, BuilderError]]] = {}
    for id_, error in failed.items():
        action, capability = actions[id_], actions[id_].needs.capability
        if not capability or not isinstance(error, MissingError) or error.where != id_:
            found.append(error)
            continue
        problem = error.problem.replace(capability, "")
        alike.setdefault((problem, error.found or ""), []).append((action, error))
    for members in alike.values():
        if len(members) == 1:
            found.append(members[0][1])
        else:
            found.append(_together(members))
    return found


def _together(members: Sequence[tuple[Action, BuilderError]]) -> MissingError:
    _, first = members[0]
    problems = dict.fromkeys(error.problem for _, error in members)
    wanted = dict.fromkeys(error.expected for _, error in members if error.expected)
    capabilities = sorted(
        {action.needs.capability or "" for action, _ in members},
        key=lambda one: [int(part) for part in one.split(".")],
    )
    plural = "compute capabilities" if capabilities[1:] else "compute capability"
    same = len(problems) == 1
    return MissingError(
        f"{len(members)} plans cannot be built here: "
        + (first.problem if same else f"they need {plural} {', '.join(capabilities)}"),
        where="tensorrt",
        found=first.found,
        expected=first.expected if len(wanted) == 1 else f"{plural} {', '.join(capabilities)}",
        fix=first.fix,
        detail="\n".join(_lines(members)),
    )


def _lines(members: Sequence[tuple[Action, BuilderError]]) -> Iterator[str]:
    """One a model: its versions, and on what each has no plan."""
    models: dict[str, dict[str, list[str]]] = {}
    for action, _ in members:
        _, model, version, *_ = action.id.split()
        versions = models.setdefault(model, {})
        versions.setdefault(version, []).append(action.needs.capability or "")
    for model, versions in models.items():
        together: dict[str, list[str]] = {}
        for version, capabilities in versions.items():
            together.setdefault(", ".join(capabilities), []).append(version)
        on = "; ".join(f"{', '.join(v)} for {c}" for c, v in together.items())
        yield f"{model} {on}"
