"""What would be built, and why."""

from __future__ import annotations

import json
from typing import Any

import click

from builder.cli.options import json_option, names_argument, target_option
from builder.cli.printing import warn


@click.command("plan")
@names_argument
@target_option
@click.option("--explain", metavar="ACTION", help="Show one action in full: its key and inputs.")
@json_option
@click.pass_obj
def command(
    options: dict[str, Any],
    *,
    names: tuple[str, ...],
    target: str | None,
    explain: str | None,
    as_json: bool,
) -> None:
    """Show what would be built, and why each action is not a hit."""
    from builder.flow.context import context
    from builder.plan.evaluate import evaluate
    from builder.spec.project import find

    here = context(find(options["start"]), target, names, warn)
    if explain:
        from builder.flow import explain as explaining

        told = explaining.explain(here, explain)
        print(json.dumps(told, indent=2) if as_json else "\n".join(explaining.lines(told)))
        return
    decisions = evaluate(here.graph, here.files, here.store)
    if as_json:
        rows = [
            {"action": d.action.id, "hit": d.hit, "key": d.key, "reason": d.reason or None}
            for d in decisions
        ]
        print(json.dumps({"target": here.target_name, "actions": rows}, indent=2))
        return
    width = max(len(d.action.id) for d in decisions)
    for d in decisions:
        print(f"{'hit ' if d.hit else 'miss'}  {d.action.id:<{width}}  {d.reason}".rstrip())
    todo = sum(not d.hit for d in decisions)
    print(f"{todo} of {len(decisions)} actions to do for target {here.target_name}")
