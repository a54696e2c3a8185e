"""What a build depends on, as one value; and a build of it, in this process."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

from builder.engine import observed
from builder.engine.executor import Order
from builder.engine.worker import perform
from builder.flow import assemble, verdicts
from builder.flow.context import Context
from builder.plan.evaluate import Record, ask, decide
from builder.plan.graph import graph
from builder.spec.project import load
from builder.store import digests
from builder.store.store import Store
from builder.validation.verdict import Finding, Verdict
from tests.matrix.everything import FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pytest

    from builder.errors import BuilderError
    from builder.plan.evaluate import Question
    from builder.spec.project import Project

RUNTIME = {"tritonserver": "2.51.0", "onnxruntime": "1.19.2"}


@dataclass
class World:
    """A project's files, and what is observed of the machine.

    Attributes:
        files: the project, path → text.
        versions: distributions that are not as they are installed here.
        code: the builder's own code that is not as it is, by module.
        python: the version of Python, where it is not this one.
        runtime: what the target's server is made of.
        environment: variables that are set.
        finish: done to the project's folder once it is written.
    """

    files: dict[str, str] = field(default_factory=lambda: dict(FILES))
    versions: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    python: str = ""
    runtime: dict[str, str] = field(default_factory=lambda: dict(RUNTIME))
    environment: dict[str, str] = field(default_factory=dict)
    finish: Callable[[Path], object] = lambda _root: None

    def write(self, root: Path) -> Project:
        """Has the project lie in a folder, and nothing else there."""
        shutil.rmtree(root, ignore_errors=True)
        for name, text in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.finish(root)
        return load(root)

    def pretend(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Has the builder observe what differs from this machine."""
        distribution, code = digests.distribution, digests.code
        monkeypatch.setattr(
            digests, "distribution", lambda name: self.versions.get(name) or distribution(name)
        )
        monkeypatch.setattr(
            digests,
            "code",
            lambda *modules: "".join(self.code.get(m, "") for m in modules) + code(*modules),
        )
        if self.python:
            monkeypatch.setattr(digests, "python", lambda: self.python)
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)

    def edit(self, file: str, old: str, new: str) -> None:
        """Changes a file's text."""
        text = self.files[file]
        assert old in text, f"{file} has no {old!r}"
        self.files[file] = text.replace(old, new)

    def set(self, file: str, *path: str | int, to: object) -> None:
        """Sets a value of a spec; None removes it."""
        spec = yaml.safe_load(self.files[file])
        inner = spec
        for key in path[:-1]:
            inner = inner.setdefault(key, {}) if isinstance(inner, dict) else inner[key]
        if to is None:
            del inner[path[-1]]
        else:
            inner[path[-1]] = to
        self.files[file] = yaml.safe_dump(spec, sort_keys=False)


@dataclass(frozen=True)
class Outcome:
    """What a build did.

    Attributes:
        ran: reason by id of the actions that ran.
        unproven: the models that would go to the server.
        failed: errors by id.
        records: results by id.
    """

    ran: Mapping[str, str]
    unproven: set[str]
    failed: Mapping[str, BuilderError]
    records: Mapping[str, Record]


def build(world: World, root: Path, store: Path, *, learn: bool = False) -> Outcome:
    """Does what is missing; asks no server.

    Args:
        world: what to build; it lies in `root` afterwards.
        root: the project's folder.
        store: the store's.
        learn: whether a server has passed all models, as far as the next build knows.
    """
    project = world.write(root)
    target_name, target = project.target(None)
    toolchain = observed.toolchain(project, world.runtime)
    store.mkdir(parents=True, exist_ok=True)
    here = Store(store, root)
    actions = graph(project, target, toolchain, {*project.models, *project.ensembles})
    files = observed.files(actions, here)
    observed.check_weights(project, here)
    ran: dict[str, str] = {}
    records: dict[str, Record] = {}
    failed: dict[str, BuilderError] = {}
    for id_, action in actions.actions.items():
        if failed.keys() & set(action.inputs.values()):
            continue
        question = ask(action, files, records)
        decision = decide(question, here)
        result = decision.record
        if result is None:
            ran[id_] = decision.reason
            result = _done(question, records, here)
        if isinstance(result, Record):
            records[id_] = result
            here.history.note(id_, result.key)
        else:
            failed[id_] = result
    here.history.save()
    unproven: set[str] = set()
    if not failed:
        names = frozenset({*project.models, *project.ensembles})
        context = Context(
            project=project,
            target_name=target_name,
            target=target,
            names=names,
            partial=False,
            toolchain=toolchain,
            graph=actions,
            files=files,
            store=here,
            runtime=world.runtime,
        )
        known = verdicts.Verdicts(context, assemble.entries(context, records), records)
        unproven = set(known.missing())
        if learn:
            passed = (Finding("goldens", passed=True, figure=""),)
            known.learn(
                [
                    Verdict(plan.name, v.version, v.number, "a server", passed)
                    for plan in actions.models.values()
                    for v in plan.versions
                ]
            )
    return Outcome(ran, unproven, failed, records)


def _done(question: Question, records: Mapping[str, Record], store: Store) -> Record | BuilderError:
    """Does an action; a proof by taking it as given: it writes nothing, and needs a server."""
    if question.action.stage == "prove":
        record = Record(question.key, {}, {}, {}, question.ingredients)
        store.keep(record)
        return record
    inputs = {label: records[name] for label, name in question.action.inputs.items()}
    return perform(Order(question.action, question.key, question.ingredients, inputs, None), store)


def clone(store: Path, to: Path) -> Path:
    """A copy of a store by hard links; files of a store are never written in place."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(store, to, copy_function=os.link)
    return to
