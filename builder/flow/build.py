"""The build: what is missing is done, laid out, proven, and swapped in."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder.engine import run as engine
from builder.engine.observed import check_required
from builder.errors import WorkFailedError
from builder.files import sha256
from builder.flow import assemble, hazards
from builder.flow.layout import Layout
from builder.flow.outcome import NotProvenError, Outcome
from builder.flow.proving import prove, untouched
from builder.flow.verdicts import Verdicts
from builder.flow.workers import Workers
from builder.repository import manifest as manifests
from builder.repository import swap
from builder.store.blobs import DamagedError
from builder.store.digests import SMALL
from builder.store.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from builder.engine.executor import Executor
    from builder.engine.run import Event
    from builder.flow.context import Context
    from builder.plan.action import Action
    from builder.plan.evaluate import Record
    from builder.repository.manifest import Manifest, ModelEntry


MENDS = 3
"""How often files that turn out corrupt while the tree is laid out are made again."""


@dataclass(frozen=True)
class Options:
    """How a build is to be done.

    Attributes:
        jobs: actions at once on this machine.
        validate: False ships without a verdict, and the manifest says so.
        strict: refuses what is not reproducible.
        say: told in a line what goes on.
        on_event: told what happens to actions.
        phase: entered for each part of a build, by name.
        interrupted: whether the user has asked to stop; looked at before the swap.
        report: given the outcome as soon as the repository has changed.
        cluster: makes the executor that actions run on; None for this machine.
    """

    jobs: int
    validate: bool = True
    strict: bool = False
    say: Callable[[str], None] = lambda _: None
    on_event: Callable[[Event], None] = lambda _: None
    phase: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext()
    interrupted: Callable[[], bool] = lambda: False
    report: Callable[[Outcome], None] = lambda _: None
    cluster: Callable[[Context], Executor] | None = None


def build(context: Context, options: Options) -> Outcome:
    """Builds, proves and swaps in a target's repository.

    Raises:
        BuilderError: something failed; the former repository is as it was.
    """
    check_required(context.project, context.names, context.toolchain)
    sharing = Sharing(context.store)
    with swap.claim(context.repository, options.say), ExitStack() as stack:
        context.store.sweep()
        stack.enter_context(context.store.leases.take())
        stack.callback(sharing.stop)
        if context.store.remote:
            stack.callback(context.store.remote.close)
        ran: list[str] = []
        damaged: Counter[str] = Counter()
        while True:
            try:
                outcome = _build(context, options, sharing, ran)
                break
            except DamagedError as e:
                damaged[e.digest] += 1
                if damaged[e.digest] == MENDS:
                    raise _damaged(context, e) from e
                options.say("what the store had was corrupt or gone; it is made again")
        sharing.finish(options.say)
        return outcome


def _build(context: Context, options: Options, sharing: Sharing, ran: list[str]) -> Outcome:
    with ExitStack() as stack:
        placed: dict[str, tuple[str, int]] = {}
        stack.callback(_remember, context, placed)
        before = _before(context)
        layout = Layout(context, before, stack)
        records = _run(context, options, sharing, ran, layout)
        if context.store.received:
            options.say(f"{context.store.received} results are the remote cache's")
        hazards.tell(records, ran, options.say)
        if options.strict:
            hazards.refuse(records)
        with options.phase("assemble"):
            entries = assemble.entries(context, records)
            server = context.proven_on(options.say) if options.validate else {}
            verdicts = Verdicts(context, entries, records, server)
            kept = _kept(context, before, entries, options.say)
            tools = before.toolchain if before and kept else {}
            proven = verdicts.into(entries) if options.validate else entries
            manifest = assemble.manifest(context, {**kept, **proven}, server, tools)
            missing = verdicts.missing() if options.validate else []
            if not missing and before and _as_it_should_be(context, before, manifest):
                _hold(context, records, verdicts)
                asked = verdicts if options.validate else None
                return Outcome.of(manifest, records, ran, (), asked, changed=False)
            tree = layout.complete(entries, kept)
        if missing:
            with options.phase("validate"):
                fresh = prove(context, records, tree, missing, options.say)
            untouched(tree, assemble.manifest(context, {**kept, **entries}), sha256)
            for record in verdicts.learn(fresh):
                sharing.give(record)
            proven = verdicts.into(entries)
            manifest = assemble.manifest(context, {**kept, **proven}, server, tools)
            failed = [v for v in verdicts.known.values() if not v.passed]
            if failed:
                outcome = Outcome.of(manifest, records, ran, missing, verdicts, changed=False)
                raise NotProvenError(outcome, failed)
        if options.interrupted():
            raise KeyboardInterrupt  # it may have been swallowed in somebody's __del__
        with options.phase("swap"):
            swap.swap_in(tree, context.repository, manifest)
            _hold(context, records, verdicts)
        placed.update(manifest.tree())
        asked = verdicts if options.validate else None
        outcome = Outcome.of(manifest, records, ran, missing, asked, changed=True)
        with ThreadPoolExecutor(1, "leave") as pool:
            pool.submit(layout.leave)
            options.report(outcome)
        return outcome


def _hold(context: Context, records: Mapping[str, Record], verdicts: Verdicts) -> None:
    """Has the store keep what the repository stands for, whatever `gc` is told."""
    keys = [*(r.key for r in records.values()), *verdicts.keys.values()]
    context.store.roots.hold(context.repository, keys, partial=context.partial)


def _damaged(context: Context, error: DamagedError) -> WorkFailedError:
    return WorkFailedError(
        "the store does not keep what it is given",
        where=str(context.store.blobs.path(error.digest)),
        found=f"a file that was made {MENDS} times and is still not whole",
        fix="check the disk, or set TRITON_BUILDER_CACHE to a folder on another one",
    )


def _run(
    context: Context, options: Options, sharing: Sharing, ran: list[str], layout: Layout
) -> dict[str, Record]:
    """Does what is missing; meanwhile the new tree is begun, and the server installed."""

    def listen(event: Event) -> None:
        if event.kind == "miss" and not options.cluster:
            workers.expect()
        if event.kind == "start":
            layout.begin()  # not before: it would keep the first worker waiting
            ran.append(event.action)
        options.on_event(event)

    with ExitStack() as stack:
        workers = Workers(context, options.jobs, options.say, stack)

        def executor(left: Collection[Action]) -> Executor:
            return options.cluster(context) if options.cluster else workers.executor(left)

        with options.phase("actions"):
            return engine.run(
                context.graph,
                context.files,
                context.store,
                executor=executor,
                say=listen,
                share=sharing.give,
            )


def _before(context: Context) -> Manifest | None:
    """What is there now. What another version of the builder wrote is built anew."""
    try:
        return manifests.read(context.repository)
    except WorkFailedError:
        if context.partial:
            raise
        return None


def _remember(context: Context, placed: Mapping[str, tuple[str, int]]) -> None:
    """Keeps digests for the next build: last of all, when no more hard links come or go."""
    for name, (digest, size) in placed.items():
        if size > SMALL:
            context.store.files.learn(context.repository / name, digest)
    context.store.files.save()


def _kept(
    context: Context,
    before: Manifest | None,
    entries: Mapping[str, ModelEntry],
    say: Callable[[str], None],
) -> dict[str, ModelEntry]:
    """Models of the last build that this one, of some models only, does not touch.

    What was proven of an ensemble, was so with its members as they were.
    """
    if not before or not context.partial:
        return {}
    kept = {name: e for name, e in before.models.items() if name not in context.graph.models}
    others = {
        name
        for name, entry in entries.items()
        if name not in before.models or dict(entry.tree()) != dict(before.models[name].tree())
    }
    while called := [n for n, e in kept.items() if n not in others and others & set(e.members)]:
        others.update(called)
    for name in sorted(others & kept.keys()):
        say(f"{name} calls what has changed, and is not proven with it: build it as well")
        versions = {
            version: replace(own, verdict={"passed": False, "reason": "a member changed"})
            for version, own in kept[name].versions.items()
        }
        kept[name] = replace(kept[name], versions=versions)
    return kept


def _as_it_should_be(context: Context, before: Manifest, manifest: Manifest) -> bool:
    return before == manifest and not swap.differences(
        context.repository, manifest, context.store.files.of
    )
