"""Reading and checking the specs."""

from __future__ import annotations

import json
from typing import Any

import click

from builder.cli.options import json_option


@click.command("check")
@json_option
@click.pass_obj
def command(options: dict[str, Any], *, as_json: bool) -> None:
    """Read and check all specs. Fast: imports nothing heavy."""
    from builder.spec import project as projects

    project = projects.load(projects.find(options["start"]))
    for name, spec in project.models.items():
        if spec.config:
            from builder.triton.config import check_overrides

            place = project.documents[name].where(("config",))
            check_overrides(spec.config, place)
    found = {
        "models": {n: list(s.served) for n, s in project.models.items()},
        "ensembles": {n: [s.version] for n, s in project.ensembles.items()},
        "targets": list(project.settings.targets),
    }
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(f"{len(project.models)} models and {len(project.ensembles)} ensembles are well-formed")
