"""JSON Schema of the spec files."""

from __future__ import annotations

import json

import click


@click.command("schema")
def command() -> None:
    """Print JSON Schema of model.yaml and ensemble.yaml, for editors."""
    from builder.spec.ensemble import EnsembleSpec
    from builder.spec.model import ModelSpec

    both = {
        "model.yaml": ModelSpec.model_json_schema(),
        "ensemble.yaml": EnsembleSpec.model_json_schema(),
    }
    print(json.dumps(both, indent=2))
