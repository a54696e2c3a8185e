"""Functions out of a user's `source.py`: finding them, calling them, loading a model by them.

A loaded torch model is kept for the next job of the same worker, unless a file it read has
changed since.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import random
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import InputError
from builder.stages.usercode import libraries
from builder.stages.usercode.blame import Place, blaming, forget
from builder.stages.usercode.observation import Observation, observing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

SEED = 0
SIDES = ("inputs", "outputs")
IMPORTS_TORCH = re.compile(rb"^\s*(?:import|from)\s+torch\b", re.MULTILINE)
KEPT = 2
"""Models held in memory by a worker; the oldest goes first."""


@dataclass(frozen=True)
class Function:
    """A function of a source, ready to call, and what importing it took."""

    place: Place
    call: Callable[..., Any]
    observed: Observation

    @property
    def where(self) -> str:
        """File and line of its definition."""
        code = getattr(inspect.unwrap(self.call), "__code__", None)
        mine = code is not None and code.co_filename == str(self.place.path)
        return self.place.at(code.co_firstlineno if code is not None and mine else None)


@dataclass(frozen=True)
class Loaded:
    """A torch model in eval mode, and what it took to load it.

    Attributes:
        module: the model; its half-width weights widened to fp32.
        where: file and line of the function that made it.
        place: that function.
        note: what the model says of itself (`triton_builder_note`).
        observed: what loading it read.
    """

    module: torch.nn.Module
    where: str
    place: Place
    note: str | None
    observed: Observation


_modules: dict[tuple[str, str], tuple[types.ModuleType, Observation, tuple[object, ...]]] = {}
_models: dict[tuple[str, ...], tuple[Loaded, tuple[object, ...]]] = {}


def function(text: str, project: Path) -> Function:
    """The function that `path.py:name` means.

    Raises:
        InputError: the file or the function is missing, or the file raises.
        MissingError: the file imports a package that is not installed.
    """
    place = Place.parse(text, project)
    if not place.path.is_file():
        raise InputError(
            "the source file is missing",
            where=place.spec,
            found=f"no file {place.file}",
            expected=f"{place.file} with a function `{place.function}`",
            fix=f"write {place.file}, or mend `{text.rpartition('/')[2]}` in the spec",
        )
    module, observed = _module(place)
    call = getattr(module, place.function, None)
    if not callable(call):
        names = [n for n, v in vars(module).items() if isinstance(v, types.FunctionType)]
        raise InputError(
            f"the source has no function `{place.function}`",
            where=place.file,
            found=", ".join(names) or "no functions",
            expected=f"def {place.function}(...)",
            fix=f"write `{place.function}`, or name another function in {place.spec}",
        )
    return Function(place, call, observed)


def invoke(source: Function, *args: Any, doing: str, **kwargs: Any) -> tuple[Any, Observation]:
    """Calls a user's function from a fixed seed; returns its answer, and what was seen."""
    with observing(source.place) as seen, blaming(source.place, doing):
        seed()
        answer = source.call(*args, **kwargs)
        if isinstance(answer, list) and type(answer) is not list:
            answer = list(answer)  # now: one of somebody's own may read files when it is asked
    return answer, source.observed | seen()


def load(params: Mapping[str, Any], project: Path) -> Loaded:
    """The torch model that `source`, `version` and `weights` of a job's parameters mean.

    Raises:
        InputError: the function fails, or returns something else than a `torch.nn.Module`.
    """
    import torch  # noqa: F401 - before the source is, so that the seed reaches its generator

    text, version, weights = params["source"], params.get("version"), params.get("weights")
    half = any(t["dtype"] == "float16" for side in SIDES for t in params.get(side, {}).values())
    path = project / text.rpartition(":")[0]
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    key = (str(path), digest, text, str(version), str(weights), str(half))
    if key in _models:
        loaded, stamps = _models[key]
        if stamps == _stamps(loaded.observed):
            return loaded
        _forget(path.parent)
    loaded = _load(function(text, project), version, weights, half=half)
    _models.pop(key, None)
    while len(_models) >= KEPT:
        del _models[next(iter(_models))]
    _models[key] = (loaded, _stamps(loaded.observed))
    return loaded


def _load(source: Function, version: str | None, weights: str | None, *, half: bool) -> Loaded:
    import torch

    args, kwargs = _arguments(source, version, weights)
    module, observed = invoke(source, *args, doing="loading the model", **kwargs)
    if not isinstance(module, torch.nn.Module):
        raise InputError(
            f"`{source.place.function}` returned no torch model",
            where=source.where,
            found=type(module).__name__,
            expected="a torch.nn.Module",
            fix="return the module itself",
        )
    if weights is not None:
        observed |= Observation(frozenset({source.place.project / weights}))
    note = getattr(module, "triton_builder_note", None)
    narrow = (torch.bfloat16,) if half else (torch.bfloat16, torch.float16)
    module._apply(lambda t: t.float() if t.dtype in narrow else t)  # noqa: SLF001 - as `.to` does
    for parameter in module.parameters():  # one by one: a ScriptModule cannot do it whole
        parameter.requires_grad_(requires_grad=False)
    return Loaded(module.eval(), source.where, source.place, note and str(note), observed)


def _arguments(
    source: Function, version: str | None, weights: str | None
) -> tuple[list[Any], dict[str, Any]]:
    """What to call `load` with, by what it accepts."""
    parameters = inspect.signature(source.call).parameters
    kinds = inspect.Parameter
    positional = [
        p
        for p in parameters.values()
        if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD, kinds.VAR_POSITIONAL)
        and p.name != "weights"
    ]
    args = [version] if positional and version is not None else []
    needed = [
        p for p in positional if p.default is kinds.empty and p.kind is not kinds.VAR_POSITIONAL
    ]
    if len(needed) > len(args):
        raise InputError(
            f"`{source.place.function}` wants more than it is given",
            where=source.where,
            found=f"{source.place.function}{inspect.signature(source.call)}",
            expected=f"{source.place.function}() or {source.place.function}(version)",
            fix="give the other parameters defaults",
        )
    takes = "weights" in parameters or any(p.kind is kinds.VAR_KEYWORD for p in parameters.values())
    if weights is not None and not takes:
        raise InputError(
            f"the spec has `weights`, which `{source.place.function}` does not take",
            where=source.where,
            found=f"{source.place.function}{inspect.signature(source.call)}",
            expected=f"{source.place.function}(version, *, weights)",
            fix="take a keyword `weights: Path | None`, or drop `weights` from the spec",
        )
    path = None if weights is None else source.place.project / weights
    return args, {"weights": path} if takes else {}


def seed() -> None:
    """One start for everything random, so that weights made from nothing are stable."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - the legacy state is what users' code draws from
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(SEED)


def _module(place: Place) -> tuple[types.ModuleType, Observation]:
    text = place.path.read_bytes()
    digest = hashlib.sha256(text + place.file.encode()).hexdigest()
    key = (str(place.path), digest)
    if key in _modules and _modules[key][2] != _stamps(_modules[key][1]):
        _forget(place.path.parent)
    if key not in _modules:
        # compiled here: a `.pyc` is trusted by its time, which is too coarse
        module = types.ModuleType(f"source_{digest[:16]}")
        module.__file__ = str(place.path)
        sys.modules[module.__name__] = module  # dataclasses and pickle look themselves up
        folder = place.path.parent
        if any(IMPORTS_TORCH.search(path.read_bytes()) for path in folder.glob("*.py")):
            import torch  # noqa: F401 - before the source does, so that the seed reaches it
        libraries.remember()
        with observing(place) as seen, blaming(place, "importing it", keep=True):
            seed()
            exec(compile(text, str(place.path), "exec"), module.__dict__)  # noqa: S102
        observed = seen() | Observation(frozenset({Path(os.path.realpath(place.path))}))
        _modules[key] = (module, observed, _stamps(observed))
    return _modules[key][:2]


def _forget(folder: Path) -> None:
    """Drops everything that was imported from a folder whose files have changed."""
    forget(folder)
    for key in [key for key in _modules if Path(key[0]).parent == folder]:
        del _modules[key]


def _stamps(observed: Observation) -> tuple[object, ...]:
    stats = [(path, path.stat() if path.exists() else None) for path in sorted(observed.places)]
    return tuple((str(p), s and (s.st_mtime_ns, s.st_size)) for p, s in stats)
