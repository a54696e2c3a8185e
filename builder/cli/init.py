"""Starting a project, or a model in one."""

from __future__ import annotations

from typing import Any

import click

from builder.errors import InputError


@click.command("init")
@click.argument("name", required=False)
@click.pass_obj
def command(options: dict[str, Any], *, name: str | None) -> None:
    """Start a project here, or a model NAME in one."""
    from builder import scaffold
    from builder.spec.project import find

    start = options["start"].resolve()
    written = []
    try:
        root = find(start)
    except InputError:
        root = start
        written += scaffold.project(root)
    else:
        written += [] if name else scaffold.project(root)
    if name:
        written += scaffold.model(root, name)
    if root != start:
        print(f"in the project {root}:")
    for file in written or ["nothing: it is all there"]:
        print(f"wrote {file}")
    if name:
        print(f"next: fill in models/{name}/source.py, then triton-builder build {name}")
