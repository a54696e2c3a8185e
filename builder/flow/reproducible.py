"""A build done twice: in another folder, by other workers, from nothing; and compared.

What is varied is what may differ between two machines of one kind: the path of the project and
its length, the order in which folders list their files, what uninitialised memory holds, where
things lie in memory, and the time. What workers fix stays fixed: the hashes of strings, and with
them the order of sets of strings, the time zone, and the number of threads.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine import run as engine
from builder.engine.variables import variables
from builder.errors import BuilderError, MissingError, SeveralError, WorkFailedError
from builder.files import link_or_copy
from builder.flow import difference
from builder.flow.context import context as planned
from builder.flow.workers import Workers
from builder.plan.evaluate import evaluate
from builder.plan.reads import LISTING, counts
from builder.store.blobs import DamagedError
from builder.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from builder.engine.run import Event
    from builder.flow.context import Context
    from builder.plan.evaluate import Record

    Output = tuple[str, int]

COPIED = ("models", "ensembles")

VARIED = {"MALLOC_PERTURB_": "64"}
"""What workers of the second build inherit: memory that is not zero where nobody set it
(mallopt(3), M_PERTURB; as floats -1.5)."""


@dataclass(frozen=True)
class Difference:
    """An output that came out differently although all that it was made of was the same.

    Attributes:
        action: the action's id.
        file: of its output; empty where the action failed the second time.
        first: sha256 and size in bytes in the first build; None if the file was not there.
        second: likewise in the second.
        where: the first place that differs, in words; or why it failed.
        unstable: what the action is known to have read that no key names.
    """

    action: str
    file: str
    first: Output | None
    second: Output | None
    where: str
    unstable: Sequence[Mapping[str, str]] = ()

    def lines(self) -> list[str]:
        """All of it, for people."""
        if not self.file:
            told = [f"{self.action} failed the second time", f"    {self.where}"]
        else:
            told = [
                f"{self.action}: {self.file}",
                f"    first     {_told(self.first)}",
                f"    second    {_told(self.second)}",
                f"    differs   {self.where}",
            ]
        causes = [
            f"    because?  {u['where']} reads the {u['what']} ({u['call']})" for u in self.unstable
        ]
        return [*told, *causes]


class NotReproducibleError(WorkFailedError):
    """Outputs that are not the same in two builds. Holds the differences, for `--json`."""

    def __init__(self, differences: Sequence[Difference]) -> None:
        actions = list(dict.fromkeys(d.action for d in differences))
        named = any(d.unstable for d in differences)
        super().__init__(
            f"built twice, and not the same: {', '.join(actions)}",
            expected="the same bytes in any folder and worker",
            fix="take out what may be the cause"
            if named
            else "look for what depends on the folder's path (`__file__`), on the order of files "
            "or of a set of objects, on memory that was never set (torch.empty) or on threads",
            detail="\n".join(line for d in differences for line in d.lines()),
        )
        self.differences = tuple(differences)

    def __reduce__(self) -> tuple[object, ...]:
        """As its root, which crosses process borders."""
        return WorkFailedError.__reduce__(self)


def refuse(differences: Sequence[Difference]) -> None:
    """Refuses a build that came out differently the second time.

    Raises:
        NotReproducibleError: there are differences.
    """
    if differences:
        raise NotReproducibleError(differences)


def check(
    context: Context,
    records: Mapping[str, Record],
    *,
    jobs: int,
    say: Callable[[str], None],
    on_event: Callable[[Event], None] = lambda _: None,
) -> list[Difference]:
    """Does every action again on this machine, elsewhere and from nothing, and compares.

    What differs only because its input does is left out: mend the input first.

    Args:
        context: the project as it was built.
        records: the results to compare with, by id of action.
        jobs: how many actions may run at once.
        say: told in a line what goes on.
        on_event: told what happens to actions.

    Raises:
        MissingError: this machine cannot do an action at all.
    """
    with context.store.scratch() as scratch:
        other = _elsewhere(context, records, scratch)
        say(f"building {len(context.graph.actions)} actions again, in another folder")
        again, failed = _run(other, jobs, say, on_event)
        return list(_differences(context, records, other, again, failed))


def _elsewhere(context: Context, records: Mapping[str, Record], scratch: Path) -> Context:
    """The same project in a folder of its own, with an empty store."""
    home = context.project.root
    root = scratch / "elsewhere"
    if len(str(root)) == len(str(home)):
        root = scratch / "somewhere-else"
    for path in reversed(_files(context, records)):  # so that folders list them in another order
        link_or_copy((home / path).resolve(), root / path)
    for folder in _folders(context, records):
        (root / folder).mkdir(parents=True, exist_ok=True)
    names = sorted(context.names) if context.partial else ()
    other = planned(root, context.target_name, names)
    return replace(other, store=Store(scratch / "store", root, context.target_name))


def _files(context: Context, records: Mapping[str, Record]) -> list[str]:
    """Every file that a build reads, relative to the project: all of its models, and more."""
    home = context.project.root
    found = {"pyproject.toml"}
    for folder in COPIED:
        for place, children, names in os.walk(home / folder, followlinks=True):
            children[:] = [name for name in children if name != "__pycache__"]
            found |= {Path(place, name).relative_to(home).as_posix() for name in names}
    for action in context.graph.actions.values():
        found |= set(action.files.values())
    for record in records.values():
        found |= {read for read in record.reads if ":" not in read and not read.startswith("/")}
    found |= {path.relative_to(home).as_posix() for path in _listed(context, records)}
    return sorted(path for path in found if (home / path).is_file())


def _folders(context: Context, records: Mapping[str, Record]) -> list[str]:
    """Every folder whose being there a build has seen, relative to the project."""
    home = context.project.root
    found = [home / read for read in _listings(records)] + _listed(context, records)
    return sorted(path.relative_to(home).as_posix() for path in found if path.is_dir())


def _listed(context: Context, records: Mapping[str, Record]) -> list[Path]:
    """What lies in the folders that a build has listed, as far as a listing shows it."""
    home = context.project.root
    folders = [home / read for read in _listings(records)]
    paths = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return [path for path in paths if counts(path.relative_to(home).as_posix())]


def _listings(records: Mapping[str, Record]) -> set[str]:
    reads = {read for record in records.values() for read in record.reads}
    return {read.removeprefix(LISTING) for read in reads if read.startswith(LISTING)}


def _run(
    context: Context, jobs: int, say: Callable[[str], None], on_event: Callable[[Event], None]
) -> tuple[dict[str, Record], dict[str, str]]:
    """Does every action; gives records, and the reasons of those that failed, by id."""
    failed: dict[str, str] = {}

    def listen(event: Event) -> None:
        if event.kind == "fail":
            failed[event.action] = event.reason
        on_event(event)

    with ExitStack() as stack:
        executor = Workers(context, jobs, say, stack).executor
        stack.enter_context(variables(VARIED))
        try:
            records = engine.run(
                context.graph, context.files, context.store, executor=executor, say=listen
            )
        except BuilderError as e:
            each = e.errors if isinstance(e, SeveralError) else (e,)
            if not failed or any(isinstance(one, MissingError) for one in each):
                raise
            decisions = evaluate(context.graph, context.files, context.store)
            records = {d.action.id: d.record for d in decisions if d.record}
    return records, failed


def _differences(
    context: Context,
    records: Mapping[str, Record],
    other: Context,
    again: Mapping[str, Record],
    failed: Mapping[str, str],
) -> Iterator[Difference]:
    for id_, action in context.graph.actions.items():
        if id_ in failed:
            unstable = records[id_].facts.get("unstable", [])
            yield Difference(id_, "", None, None, failed[id_], unstable)
        inputs = action.inputs.values()
        done = id_ in again and all(again[name].digest == records[name].digest for name in inputs)
        if not done or action.stage == "tensorrt":  # no two plans are the same
            continue
        outputs, others = records[id_].outputs, again[id_].outputs
        for file in sorted({*outputs, *others}):
            first, second = outputs.get(file), others.get(file)
            if (first and first[0]) != (second and second[0]):
                place = _where(file, (context, outputs), (other, others))
                unstable = records[id_].facts.get("unstable", [])
                yield Difference(id_, file, first, second, place, unstable)


def _where(
    file: str,
    first: tuple[Context, Mapping[str, Output]],
    second: tuple[Context, Mapping[str, Output]],
) -> str:
    for number, (_, outputs) in ("first", first), ("second", second):
        if file not in outputs:
            return f"the {number} build has no such file"
    graph = file.removesuffix(".data")
    try:
        a, b = (context.store.file(outputs[file]) for context, outputs in (first, second))
        beside = graph != file and graph in first[1]
        return difference.where(
            file, a, b, first[0].store.file(first[1][graph]) if beside else None
        )
    except DamagedError:
        return "the first build's file is no longer in the store"


def _told(output: Output | None) -> str:
    return f"{output[0][:16]}, {output[1]} bytes" if output else "not there"
