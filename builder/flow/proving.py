"""A tree of models put before a live server, and held to be what is proven."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import WorkFailedError
from builder.flow import layers
from builder.repository import swap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from builder.flow.context import Context
    from builder.plan.evaluate import Record
    from builder.repository.manifest import Manifest
    from builder.validation.verdict import Verdict


def prove(  # noqa: PLR0913 - what is put before which server, and how
    context: Context,
    records: Mapping[str, Record],
    tree: Path,
    names: Sequence[str],
    say: Callable[[str], None],
    *,
    again: bool = False,
) -> list[Verdict]:
    """Puts models before a live server: all of them in one start."""
    from builder.flow.serving import serving
    from builder.flow.subjects import subjects
    from builder.validation.live import validate
    from builder.validation.probes import probes

    under_test = subjects(context, records, tree, names)
    with context.store.scratch() as scratch:
        beside = probes(scratch / "probes")  # which anybody may read, as a container's user must
        say(f"validating {len(names)} model{'s' if names[1:] else ''} on a live server")
        with serving(context, [tree, beside], say) as server:
            found = validate(server, under_test, say=say, again=again)
    return [layers.pointed(context, verdict) for verdict in found]


def untouched(tree: Path, manifest: Manifest, digest: Callable[[str], str]) -> None:
    """What is proven, or recorded, must be what the manifest says, and nothing else.

    Raises:
        WorkFailedError: a file was changed, added or removed by somebody.
    """
    changed = swap.differences(tree, manifest, digest)
    if changed:
        raise WorkFailedError(
            "files are not as they were built",
            where=tree.name,
            found=", ".join(changed[:5]) + (" and more" if changed[5:] else ""),
            expected="the files of manifest.json, unchanged",
            fix="build again; a model must not write into its own folder",
        )
