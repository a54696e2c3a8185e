"""Everything that a build depends on, changed one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest
from pydantic import BaseModel

from builder.plan.toolchain import TOOLS as DECLARED
from builder.spec.ensemble import EnsembleSpec
from builder.spec.model import ModelSpec
from builder.spec.project import load
from builder.spec.target import Settings
from tests.matrix.table import EVERYTHING, TABLE, Mutation
from tests.matrix.world import World, build, clone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

# --- doing -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The project, built and proven once: folder of the project, folder of the store."""
    folder = tmp_path_factory.mktemp("matrix")
    root, store = folder / "project", folder / "store"
    outcome = build(World(), root, store, learn=True)
    assert not outcome.failed
    assert set(outcome.ran) == set(EVERYTHING.split(", "))
    return root, store


@pytest.mark.export
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("mutation", TABLE, ids=lambda m: m.name)
def test_exactly_what_depends_on_a_change_is_done_again(
    built, mutation, tmp_path, monkeypatch, request
):
    if mutation.wrong:
        request.applymarker(pytest.mark.xfail(reason=mutation.wrong, strict=True))
    root, store = built
    world = World()
    mutation.change(world)
    world.pretend(monkeypatch)
    outcome = build(world, root, clone(store, tmp_path / "store"))
    assert not outcome.failed
    assert differences(outcome.ran, mutation.ran) == {}
    assert differences(outcome.unproven, mutation.unproven) == {}
    silent = {
        id_: reason
        for id_, reason in outcome.ran.items()
        if not any(word in reason for word in (mutation.says, "output of", "never built"))
    }
    assert not silent
    if mutation.says and outcome.ran:
        assert any(mutation.says in reason for reason in outcome.ran.values())


@pytest.mark.export
@pytest.mark.filterwarnings("default")
def test_what_is_changed_back_is_there_already(built, tmp_path):
    root, store = built
    here = clone(store, tmp_path / "store")
    changed = World()
    changed.edit("models/net/layers.py", "y * 2", "y * 3")
    assert build(changed, root, here).ran
    again = build(World(), root, here)
    assert not again.ran
    assert not again.unproven


@pytest.mark.export
@pytest.mark.filterwarnings("default")
def test_another_place_and_another_project_with_the_same_models_take_what_is_there(built, tmp_path):
    _, store = built
    moved = build(World(), tmp_path / "elsewhere" / "project", clone(store, tmp_path / "store"))
    assert not moved.ran
    assert not moved.unproven


@pytest.mark.export
@pytest.mark.filterwarnings("default")
def test_what_was_done_again_is_what_a_clean_build_makes(built, tmp_path):
    root, store = built
    world = World()
    world.edit("models/net/layers.py", "y * 2", "y * 3")
    step = build(world, root, clone(store, tmp_path / "store"))
    clean = build(world, tmp_path / "project", tmp_path / "clean")
    assert {i: r.outputs for i, r in step.records.items()} == {
        i: r.outputs for i, r in clean.records.items()
    }


def differences(found: Iterable[str], wanted: frozenset[str]) -> dict[str, list[str]]:
    """What is missing of the wanted, and what is there without need."""
    sides = {"missing": wanted - {*found}, "extra": {*found} - wanted}
    return {side: sorted(names) for side, names in sides.items() if names}


# --- completeness ------------------------------------------------------------------------


def fields(kind: Any, path: str) -> Iterator[str]:
    """Every field below a spec, dotted; `*` for any key or place."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, info in kind.model_fields.items():
            yield from fields(info.annotation, f"{path}.{name}")
        return
    below = [a for a in get_args(kind) if a is not type(None) and a is not Ellipsis]
    models = [leaf for a in below for leaf in fields(a, path) if leaf != path]
    if not models:
        yield path
    elif str(kind).startswith(("dict", "tuple", "typing.Tuple")):
        yield from (f"{path}.*{leaf.removeprefix(path)}" for leaf in models)
    else:
        yield from models


def values(value: Any, field: str, place: str) -> Iterator[tuple[str, str, Any]]:
    yield field, place, value
    if isinstance(value, BaseModel):
        for name in value.model_fields_set:
            yield from values(getattr(value, name), f"{field}.{name}", f"{place}.{name}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from values(item, f"{field}.*", f"{place}.{key}")
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from values(item, f"{field}.*", f"{place}.{number}")


def said(root: Path) -> Mapping[tuple[str, str], Mapping[str, tuple[str, Any]]]:
    """What all specs of a project say: by kind and name, then by place."""
    project = load(root)
    specs = {
        "model": project.models,
        "ensemble": project.ensembles,
        "settings": {"": project.settings},
    }
    return {
        (kind, name): {place: (field, value) for field, place, value in values(spec, kind, kind)}
        for kind, found in specs.items()
        for name, spec in found.items()
    }


def test_every_field_of_every_spec_is_in_the_table(tmp_path):
    root = tmp_path / "project"
    World().write(root)
    before = said(root)
    touched: set[str] = set()
    for mutation in TABLE:
        world = World()
        mutation.change(world)
        world.write(root)
        after = said(root)
        for spec in before.keys() | after.keys():
            if spec in before and spec in after:
                old, new = before[spec], after[spec]
                changed = [p for p in old.keys() | new.keys() if old.get(p) != new.get(p)]
                touched |= {(old.get(p) or new[p])[0] for p in changed}
            else:  # it came or went, as one that is renamed does
                touched.add(f"{spec[0]}.name")
    kinds = (("model", ModelSpec), ("ensemble", EnsembleSpec), ("settings", Settings))
    wanted = {leaf for name, kind in kinds for leaf in fields(kind, name)}
    assert len(wanted) > 70
    missing = wanted - touched
    assert not missing, f"no mutation for {sorted(missing)}"


def test_every_tool_of_every_stage_is_in_the_table():
    changed: set[str] = set()
    for mutation in TABLE:
        world = World()
        mutation.change(world)
        changed |= world.versions.keys() | world.code.keys()
    wanted = {name for names in DECLARED.values() for name in names}
    wanted |= {f"builder.stages.{stage}" for stage in DECLARED}
    assert not wanted - changed


def test_no_two_rows_have_one_name():
    assert len({m.name for m in TABLE}) == len(TABLE)
    assert all(isinstance(m, Mutation) for m in TABLE)
