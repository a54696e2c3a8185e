"""A project: the folder with pyproject.toml, models/ and ensembles/, read as one value."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ValidationError

from builder.errors import BuilderError, InputError, SeveralError
from builder.files import sha256
from builder.spec import consistency, interface, wires
from builder.spec.document import Document, parse, read, unknown
from builder.spec.ensemble import EnsembleSpec
from builder.spec.model import ModelSpec
from builder.spec.source import Function, Outline, outline
from builder.spec.target import Settings, Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builder.spec.interface import Interface


@dataclass(frozen=True)
class Project:
    """Everything that was declared, checked.

    Attributes:
        root: the project's folder.
        ensembles: members first, so that one pass over them finds every member known.
        loads: the `load` function of each model that has one, as its file shows it.
        documents: each spec's file, for messages.
        interfaces: what each model and ensemble shows to the outside.
    """

    root: Path
    settings: Settings
    models: Mapping[str, ModelSpec]
    ensembles: Mapping[str, EnsembleSpec]
    loads: Mapping[str, Function]
    interfaces: Mapping[str, Interface]
    documents: Mapping[str, Document] = field(repr=False)

    def target(self, name: str | None) -> tuple[str, Target]:
        """A target by name, or the default one.

        Raises:
            InputError: there is no such target.
        """
        wanted = name or self.settings.default_target
        if wanted in self.settings.targets:
            return wanted, self.settings.targets[wanted]
        raise unknown(
            "target",
            wanted,
            list(self.settings.targets),
            "pyproject.toml [tool.triton-builder]",
            f"add [tool.triton-builder.targets.{wanted}]",
        )

    def closure(self, names: Sequence[str]) -> frozenset[str]:
        """The named models and ensembles with all their members; all where none is named.

        Raises:
            InputError: a name is neither a model nor an ensemble.
        """
        known = [*self.models, *self.ensembles]
        todo, seen = list(names or known), set[str]()
        while todo:
            name = todo.pop()
            if name not in known:
                raise unknown("model or ensemble", name, known, "command line")
            seen.add(name)
            if name in self.ensembles:
                todo += [s.model for s in self.ensembles[name].steps if s.model not in seen]
        return frozenset(seen)


def find(start: Path) -> Path:
    """The nearest folder, from here upwards, that is a project.

    Raises:
        InputError: there is none.
    """
    here = start.resolve()
    for folder in (here, *here.parents):
        if (folder / "models").is_dir() or (folder / "ensembles").is_dir():
            return folder
        if _table(folder) is not None:
            return folder
    raise InputError(
        "not in a triton-builder project",
        where=".",
        expected="a folder models/ here or above, with models/<name>/model.yaml in it",
        fix="change into the project, or start one: triton-builder init",
    )


def load(root: Path) -> Project:
    """Reads and checks everything that a project declares.

    Raises:
        InputError: something is wrong; SeveralError where more than one thing is.
    """
    settings = read_settings(root)
    reading = _Reading(root)
    try:
        reading.models()
        reading.ensembles()
    except OSError as e:
        where = os.path.relpath(e.filename, root) if e.filename else "models/"
        raise InputError("cannot be read", where=where, found=e.strerror) from e
    reading.wire()
    if not reading.specs:
        raise InputError(
            "there are no models",
            where="models/",
            expected="models/<name>/model.yaml",
            fix="triton-builder init NAME",
        )
    return Project(
        root,
        settings,
        reading.specs,
        reading.compositions,
        reading.loads,
        reading.interfaces,
        reading.documents,
    )


class _Reading:
    """One pass over a project's folders, which goes on after a mistake to find the next."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.specs: dict[str, ModelSpec] = {}
        self.compositions: dict[str, EnsembleSpec] = {}
        self.loads: dict[str, Function] = {}
        self.interfaces: dict[str, Interface] = {}
        self.documents: dict[str, Document] = {}
        self._errors: list[BuilderError] = []

    def models(self) -> None:
        for folder in _folders(self.root / "models"):
            try:
                document, spec, function = _model(folder)
            except BuilderError as e:
                self._errors.append(e)
                continue
            self.specs[spec.name], self.documents[spec.name] = spec, document
            self.interfaces[spec.name] = interface.of_model(spec)
            if function:
                self.loads[spec.name] = function

    def ensembles(self) -> None:
        for folder in _folders(self.root / "ensembles"):
            try:
                document, spec = _ensemble(folder)
                if spec.name in self.specs:
                    raise document.error(
                        ("name",),
                        f"two models are named `{spec.name}`",
                        found=f"also {self.documents[spec.name].name}",
                        expected="one name space for models and ensembles",
                        fix="rename one of them",
                    )
            except BuilderError as e:
                self._errors.append(e)
                continue
            self.compositions[spec.name], self.documents[spec.name] = spec, document

    def wire(self) -> None:
        """Checks ensembles against members, once all of these could be read."""
        self._stop_at_errors()
        ordered = wires.order(self.compositions, self.documents)
        self.compositions = {name: self.compositions[name] for name in ordered}
        for name, spec in self.compositions.items():
            shown, mistakes = wires.check(spec, self.documents[name], self.interfaces)
            self._errors += mistakes
            if shown is None:
                break
            self.interfaces[name] = shown
        self._stop_at_errors()

    def _stop_at_errors(self) -> None:
        if self._errors:
            raise SeveralError.of(self._errors)


def read_settings(root: Path) -> Settings:
    """`[tool.triton-builder]` of a project, without its specs.

    Raises:
        InputError: something in it is wrong; SeveralError where more than one thing is.
    """
    table = _table(root) or {}
    document = Document("pyproject.toml [tool.triton-builder]", table, {})
    try:
        settings = Settings.model_validate(table)
    except ValidationError:
        return parse(document, Settings)
    if settings.default_target not in settings.targets:
        raise document.error(
            ("default-target",),
            f"the default target `{settings.default_target}` is not declared",
            expected=", ".join(settings.targets),
        )
    return settings


def _table(folder: Path) -> dict[str, object] | None:
    """`[tool.triton-builder]` of a folder's pyproject.toml; None where there is none."""
    where = f"{folder.name}/pyproject.toml"
    try:
        table: object = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise InputError("file cannot be read", where=where, found=e.strerror) from e
    except UnicodeDecodeError as e:
        raise InputError("not UTF-8", where=where, found=e, fix="save it as UTF-8") from e
    except (ValueError, RecursionError) as e:  # a number may be too long even for tomllib
        raise InputError("not valid TOML", where=where, found=e) from e
    for key in ("tool", "triton-builder"):
        table = table.get(key) if isinstance(table, dict) else None
        if table is None:
            return None
        if not isinstance(table, dict):
            raise InputError(
                f"`{key}` is no table",
                where=where,
                found=repr(table),
                expected="[tool.triton-builder]",
            )
    return table if isinstance(table, dict) else None


def _folders(parent: Path) -> list[Path]:
    """The folders of a parent that hold a spec, or look as if they should; links to nothing too."""
    if not parent.is_dir():
        return []
    with os.scandir(parent) as found:
        names = [
            e.name
            for e in found
            if not e.name.startswith((".", "__")) and (_leads_nowhere(e) or e.is_dir())
        ]
    return [parent / name for name in sorted(names)]


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """A link to nothing, or to itself, which `is_dir` would fail at."""
    return entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110 - for each of a thousand, without a Path


def _document(folder: Path, file: str) -> Document:
    name = f"{folder.parent.name}/{folder.name}"
    if (folder / file).exists():
        return read(folder / file, f"{name}/{file}")
    if not folder.exists():
        raise InputError(
            "a link that leads nowhere",
            where=name,
            found=folder.readlink() if folder.is_symlink() else None,
            fix=f"remove {name}, or mend what it points to",
        )
    other = (folder / file).with_suffix(".yml")
    if other.is_file():
        raise InputError(
            "file is missing",
            where=f"{name}/{file}",
            found=other.name,
            fix=f"rename {name}/{other.name} to {file}",
        )
    return read(folder / file, f"{name}/{file}")


def _model(folder: Path) -> tuple[Document, ModelSpec, Function | None]:
    document = _document(folder, "model.yaml")
    spec = parse(document, ModelSpec)
    found: list[BuilderError] = [*consistency.mistakes(spec, document, folder.name)]
    function: Function | None = None
    try:
        function = _functions(folder, spec, document)
    except BuilderError as e:
        found.append(e)
    try:
        _weights(folder, spec, document)
    except BuilderError as e:
        found.append(e)
    if found:
        raise SeveralError.of(found)
    return document, spec, function


def _functions(folder: Path, spec: ModelSpec, document: Document) -> Function | None:
    references = {"source": spec.source, "samples": spec.samples}
    references |= {"reference": spec.reference} if spec.reference else {}
    references |= {"files": spec.files} if spec.files else {}
    references |= {"accuracy": spec.accuracy.data} if spec.accuracy else {}
    outlines: dict[str, Outline] = {}
    found: dict[str, Function | None] = {}
    for name, reference in references.items():
        file, _, function = reference.partition(":")
        where = document.where((name, "data") if name == "accuracy" else (name,))
        if file not in outlines:
            outlines[file] = outline(folder / file, f"models/{folder.name}/{file}", where)
        if function:
            found[name] = outlines[file].function(function, where)
    return found.get("source")


def _weights(folder: Path, spec: ModelSpec, document: Document) -> None:
    """Weights that are named exist and have the digest that is pinned."""
    for version in spec.versions:
        weights = spec.weights_of(version)
        if not weights:
            continue
        name, pinned = weights
        own = spec.versions[version].weights
        place = ("versions", version, "weights") if own else ("weights",)
        path = folder / name
        shown = f"models/{folder.name}/{name}"
        if not path.is_file():
            raise document.error(place, f"weights {shown} are missing", fix="put the file there")
        if pinned is None:
            digest = sha256(path)
            raise document.error(
                place,
                f"the digest of {shown} is not pinned",
                expected=f"weights_sha256: {digest}",
                fix="add that line if this is the file you mean",
            )


def _ensemble(folder: Path) -> tuple[Document, EnsembleSpec]:
    document = _document(folder, "ensemble.yaml")
    spec = parse(document, EnsembleSpec)
    if spec.name != folder.name:
        raise document.error(
            ("name",),
            "an ensemble is named like its folder",
            found=spec.name,
            expected=folder.name,
            fix=f"write `name: {folder.name}`, or rename the folder",
        )
    unknown = set(spec.tolerance.outputs) - set(spec.outputs)
    for output in sorted(unknown):
        raise document.error(
            ("tolerance", "outputs", output),
            f"`{output}` is no output",
            expected=", ".join(spec.outputs),
        )
    return document, spec
