"""Machines that build one project, each in a folder and with a store of its own."""

import hashlib

from builder.flow.build import Options, build
from builder.flow.context import context
from tests.projects import ECHO_SOURCE, echo

MODELS = ("one", "two")
ALL = {f"{stage} {name}" for name in MODELS for stage in ("python", "reference", "config")}
CHANGED = ECHO_SOURCE.replace("[5, 6]", "[5, 7]")


def machines(folder, monkeypatch):
    """Gives a function that builds on a machine: what ran, the tree, what was said."""

    def run(name, source=ECHO_SOURCE, **options):
        root = folder / name / "project"
        root.mkdir(parents=True, exist_ok=True)
        for model in MODELS:
            echo(root, model, source if model == "one" else ECHO_SOURCE + f"# {model}\n")
        monkeypatch.setenv("TRITON_BUILDER_CACHE", str(folder / name / "cache"))
        said = []
        options = {"jobs": 1, "validate": False, "say": said.append, **options}
        outcome = build(context(root, None, warn=said.append), Options(**options))
        return set(outcome.ran), tree(root), said

    return run


def warnings(said):
    """What was said of a remote that is not as it should be."""
    return [line for line in said if "the remote cache " in line and "uploading" not in line]


def tree(root):
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in (root / "repository" / "cpu").rglob("*")
        if p.is_file()
    }
