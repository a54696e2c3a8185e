"""Reading and checking the specs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import json_option
from builder.errors import InputError, SeveralError

if TYPE_CHECKING:
    from builder.errors import BuilderError
    from builder.spec.target import Settings


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
    _check_targets(project.settings)
    found = {
        "models": {n: list(s.served) for n, s in project.models.items()},
        "ensembles": {n: [s.version] for n, s in project.ensembles.items()},
        "targets": list(project.settings.targets),
    }
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(f"{len(project.models)} models and {len(project.ensembles)} ensembles are well-formed")


def _check_targets(settings: Settings) -> None:
    """Refuses what every plan would: a release of Triton that is none, an address of no store."""
    from builder.remote.cache import check_url
    from builder.triton.releases import release

    table = "pyproject.toml [tool.triton-builder"
    errors: list[BuilderError] = []
    for name, target in settings.targets.items():
        try:
            release(target.triton, f"{table}.targets.{name}] triton")
        except InputError as e:
            errors.append(e)
    for field, url in (
        ("remote-cache", settings.remote_cache),
        ("release-store", settings.release_store),
    ):
        try:
            if url:
                check_url(url)
        except InputError as e:
            e.where = f"{table}] {field}"
            errors.append(e)
    if errors:
        raise SeveralError.of(errors)
