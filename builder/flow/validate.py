"""Every check once more, on a repository that was built."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from builder.errors import WorkFailedError
from builder.flow import assemble, layers
from builder.flow.outcome import NotProvenError, Outcome
from builder.flow.proving import prove, untouched
from builder.flow.verdicts import Verdicts
from builder.plan.evaluate import evaluate
from builder.repository import manifest as manifests
from builder.validation.verdict import LEAKS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from builder.flow.context import Context
    from builder.repository.manifest import ModelEntry


def validate(
    context: Context,
    repository: Path,
    say: Callable[[str], None],
    *,
    leaks: bool = False,
    by_layer: bool = False,
) -> Outcome:
    """Runs every check again on a repository that was built.

    What another server than the target's own answers is reported, and changes nothing of what a
    build knows; nor does what `leaks` finds, which no build asks for. With `by_layer` goldens that
    are missed say which layer departs.

    Raises:
        WorkFailedError: the project was not built as it stands now.
        NotProvenError: a version failed.
    """
    manifest = manifests.read(repository)
    decisions = evaluate(context.graph, context.files, context.store)
    todo = [d.action.id for d in decisions if not d.hit]
    if todo or manifest is None:
        raise WorkFailedError(
            "the project has changed since it was built" if manifest else "nothing is built",
            where=f"repository/{repository.name}",
            found=", ".join(todo[:5]) or "no manifest",
            fix=f"triton-builder build --target {context.target_name}",
        )
    records = {d.action.id: d.record for d in decisions if d.record}
    entries = assemble.entries(context, records)
    verdicts = Verdicts(context, entries, records, context.proven_on(say))
    names = list(context.graph.models)
    untouched(repository, manifest, context.store.files.of)
    built = {name: entry for name, entry in manifest.models.items() if name in entries}
    if _tree(built) != _tree(entries):
        raise WorkFailedError(
            "the repository holds another build than the project's",
            where=repository.name,
            fix=f"triton-builder build --target {context.target_name}",
        )
    found = prove(context, records, repository, names, say, again=leaks)
    if not context.urls:
        verdicts.learn([verdict.without(LEAKS) for verdict in found])
    outcome = Outcome.of(manifest, records, (), names, verdicts, changed=False)
    if by_layer:
        found = [layers.explained(context, verdict, say) for verdict in found]
    if context.urls or leaks or by_layer:
        outcome = replace(outcome, verdicts=tuple(found))
    failed = [v for v in found if not v.passed]
    if failed:
        raise NotProvenError(outcome, failed)
    return outcome


def _tree(entries: Mapping[str, ModelEntry]) -> dict[str, dict[str, tuple[str, int]]]:
    return {name: dict(entry.tree()) for name, entry in entries.items()}
