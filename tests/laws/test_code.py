"""The builder's own code in keys: all of it that a stage runs, and every tool that it uses."""

from __future__ import annotations

import ast
import shutil
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from builder.engine import observed
from builder.plan.toolchain import TOOLS
from builder.store import digests

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(digests.__file__).parents[2]
HARMLESS = {"pydantic", "PyYAML"}
"""Distributions that read specs and check values; they give no part of an output."""
ASIDE = {"prove": {"numpy", "onnx", "onnxruntime"}, "preflight": {"onnx"}, "tensorrt": {"onnx"}}
"""`prove` writes nothing; what it asks is the release's own runtime, which its key names. The
rest of what the builder compares with could only refuse. `onnx` looks up the names of nodes that
were refused."""
STARTED = {"prove": {"builder.stages.prove_runner"}}
"""Modules that a stage runs in another process instead of importing them."""
CALLERS = {"torch", "numpy"}
"""What a stage seeds for the user's own code, and only where that has imported it."""


def file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    found = [p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()]
    return found[0] if found else None


@cache
def owners() -> Mapping[str, list[str]]:
    """Distributions by top-level module."""
    return metadata.packages_distributions()


@cache
def imports(module: str) -> tuple[set[str], set[str]]:
    """The builder's modules that a module imports at run time, and the distributions."""
    path = file_of(module)
    assert path
    tree = ast.parse(path.read_text())
    checked = {
        below
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in node.body
        for below in ast.walk(child)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in checked:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"a relative import in {module}"
            names |= {str(node.module), *(f"{node.module}.{a.name}" for a in node.names)}
    ours = {n for n in names if n.partition(".")[0] == "builder" and file_of(n)}
    tops = {n.partition(".")[0] for n in names} - {"builder", *sys.stdlib_module_names}
    return ours, {owners()[top][0] for top in tops if top in owners()}


def closure(module: str) -> tuple[set[str], set[str]]:
    """All of the builder below a module, and the distributions that it uses."""
    todo, seen, tools = [module], set[str](), set[str]()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            ours, theirs = imports(name)
            todo += ours
            tools |= theirs
    return seen, tools


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The builder's code elsewhere, where it can be changed."""
    shutil.copytree(ROOT / "builder", tmp_path / "builder")
    monkeypatch.setattr(digests, "__file__", str(tmp_path / "builder/engine/digests.py"))
    digests.code.cache_clear()
    yield tmp_path
    digests.code.cache_clear()


def codes() -> Mapping[str, str]:
    """Digest of the builder's code by stage, as a build observes it."""
    digests.code.cache_clear()
    return observed.toolchain(SimpleNamespace(models={}), {}).code


def commented(path: Path) -> bytes:
    """Adds a comment to a file; gives what was there."""
    text = path.read_bytes()
    path.write_bytes(text + b"\n# a comment\n")
    return text


def test_the_code_of_a_stage_is_all_that_it_runs_and_nothing_else(copied):
    run = {
        stage: closure(f"builder.stages.{stage}")[0] | STARTED.get(stage, set()) for stage in TOOLS
    }
    before = codes()
    mine = {name: file_of(name) for modules in run.values() for name in modules}
    for name, file in mine.items():
        path = copied / file.relative_to(ROOT)
        text = commented(path)
        now = codes()
        path.write_bytes(text)
        changed = {stage for stage in TOOLS if now[stage] != before[stage]}
        assert changed == {stage for stage in TOOLS if name in run[stage]}, name
    others = {*(ROOT / "builder").rglob("*.py")} - {*mine.values()}
    assert len(others) > len(mine)
    for path in others:
        commented(copied / path.relative_to(ROOT))
    assert codes() == before


@pytest.mark.parametrize("stage", TOOLS)
def test_every_distribution_that_a_stage_uses_is_among_its_tools(stage):
    _, used = closure(f"builder.stages.{stage}")
    callers = CALLERS if stage in {"python", "heldout"} else set()
    assert used - HARMLESS - ASIDE.get(stage, set()) - callers <= set(TOOLS[stage])
