"""Loads a file of a shipped model by its path, as the builder does, without the builder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from types import ModuleType

MODELS = Path(__file__).parents[2] / "models"


def read(model: str, file: str = "source.py") -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{model}_{file[:-3]}", MODELS / model / file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def yaml_of(model: str) -> dict:
    return yaml.safe_load((MODELS / model / "model.yaml").read_text(encoding="utf-8"))
