"""The graph of actions for a target, from its specs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.errors import InputError
from builder.plan.action import Action
from builder.spec.version import number
from builder.triton.releases import release

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from builder.plan.toolchain import Toolchain
    from builder.spec.ensemble import EnsembleSpec
    from builder.spec.model import ModelSpec
    from builder.spec.project import Project
    from builder.spec.target import Target


@dataclass(frozen=True)
class VersionPlan:
    """Where one version's files come from: ids of actions.

    Attributes:
        artifact: what lies in the version folder; None for an ensemble.
        reference: its goldens.
        proof: its proof in the release's own runtime; None where there is none to run.
    """

    version: str
    precision: str
    artifact: str | None
    reference: str
    proof: str | None

    @property
    def number(self) -> int:
        """The name of Triton's folder."""
        return number(self.version)


@dataclass(frozen=True)
class ModelPlan:
    """One Triton model: its versions, and the actions of what they share.

    Attributes:
        config: writes config.pbtxt and the warm-up data.
        heldout: gives the examples of the accuracy gate; None where there is none.
    """

    name: str
    versions: tuple[VersionPlan, ...]
    config: str
    heldout: str | None = None


@dataclass(frozen=True)
class Graph:
    """All actions of a build by id, inputs first, and what they make up."""

    actions: Mapping[str, Action]
    models: Mapping[str, ModelPlan]


def graph(project: Project, target: Target, toolchain: Toolchain, names: Collection[str]) -> Graph:
    """The actions that the named models and ensembles need on a target.

    Raises:
        InputError: the target has no format for a model, or its release is not known.
    """
    drafts = _Drafts(project, target, toolchain)
    models = {name: drafts.model(spec) for name, spec in project.models.items() if name in names}
    models |= {
        name: drafts.ensemble(spec) for name, spec in project.ensembles.items() if name in names
    }
    return Graph(drafts.actions, models)


class _Drafts:
    """Collects actions; two versions that need the same one share it."""

    def __init__(self, project: Project, target: Target, toolchain: Toolchain) -> None:
        self.project, self.target, self.toolchain = project, target, toolchain
        self.release = release(target.triton)
        self.actions: dict[str, Action] = {}

    def add(self, action: Action) -> str:
        self.actions[action.id] = action
        return action.id

    def model(self, spec: ModelSpec) -> ModelPlan:
        wanted = "python" if spec.format == "python" else "onnx"
        if wanted not in self.target.formats:
            raise InputError(
                f"target has no format for {spec.name}",
                where=self.project.documents[spec.name].where(),
                found=", ".join(self.target.formats),
                expected=wanted,
                fix=f'add "{wanted}" to the target\'s formats',
            )
        make = self.python_version if wanted == "python" else self.onnx_version
        versions = tuple(make(spec, version) for version in spec.served)
        config = self.config(spec.name, _serving(spec, self.target), versions[-1].reference)
        return ModelPlan(spec.name, versions, config, self.heldout(spec))

    def heldout(self, spec: ModelSpec) -> str | None:
        if not spec.accuracy:
            return None
        return self.add(
            Action(
                id=f"heldout {spec.name}",
                stage="heldout",
                params={"data": _path(spec, spec.accuracy.data), "inputs": _json(spec.inputs)},
                files=_sources(spec, spec.accuracy.data),
                tools=self.toolchain.of("heldout", spec.requires),
            )
        )

    def onnx_version(self, spec: ModelSpec, version: str) -> VersionPlan:
        precision = spec.precision(version, self.target.device)
        reference = self.reference(spec, version)
        base = self.actions[reference]
        artifact = self.add(
            Action(
                id=reference.replace("reference", "export", 1),
                stage="export",
                params={
                    **base.params,
                    "opset": self.release.opset,
                    "ir_version": self.release.ir_version,
                    "tolerance": _tolerance(spec),
                },
                files=base.files,
                inputs={"reference": reference},
                tools=self.toolchain.of("export", spec.requires),
                affinity=base.affinity,
            )
        )
        layers = [_tolerance(spec), _json(spec.versions[version].tolerance)]
        tensors = _tensors(spec)
        if precision != "fp32":
            recipe = spec.versions[version].recipe
            artifact = self.add(
                Action(
                    id=f"{precision} {spec.name} {version}",
                    stage=precision,
                    params={
                        **tensors,
                        "recipe": recipe,
                        "task": spec.task,
                        "tolerance": layers,
                        "opset": self.release.opset,
                    },
                    inputs={"onnx": artifact, "reference": reference},
                    tools=self.toolchain.of(precision),
                )
            )
        proof = self.add(
            Action(
                id=f"prove {spec.name} {version}",
                stage="prove",
                params={
                    **tensors,
                    "tolerance": layers,
                    "precision": precision,
                    "onnxruntime": self.release.onnxruntime,
                },
                inputs={"onnx": artifact, "reference": reference},
                tools=self.toolchain.of("prove"),
            )
        )
        return VersionPlan(version, precision, artifact, reference, proof)

    def python_version(self, spec: ModelSpec, version: str) -> VersionPlan:
        file, _, _ = spec.source.partition(":")
        artifact = self.add(
            Action(
                id=f"python {spec.name}",
                stage="python",
                params={
                    "source": _path(spec, file),
                    "files": _path(spec, spec.files) if spec.files else None,
                    "packages": list(spec.packages),
                },
                files={"source": _path(spec, file), **_sources(spec, spec.files)},
                tools=self.toolchain.of("python", [*spec.requires, *spec.packages]),
            )
        )
        return VersionPlan(version, "fp32", artifact, self.reference(spec, version), None)

    def reference(self, spec: ModelSpec, version: str) -> str:
        """The goldens' action; versions that load the same module share it."""
        params, files, suffix = self.recipe(spec, version)
        return self.add(
            Action(
                id=f"reference {spec.name}{suffix}",
                stage="reference",
                params={**params, "samples": _path(spec, spec.samples), "dims": _json(spec.dims)},
                files={**files, **_sources(spec, spec.samples)},
                tools=self.toolchain.of("reference", spec.requires),
                affinity=f"{spec.name}{suffix}",
            )
        )

    def recipe(self, spec: ModelSpec, version: str) -> tuple[dict[str, Any], dict[str, str], str]:
        """How a model's right answers are had: parameters, files, and what tells it apart."""
        tensors = {"inputs": _json(spec.inputs), "outputs": _json(spec.outputs)}
        if spec.reference:
            path = _path(spec, spec.reference)
            return {"reference": path, **tensors}, _sources(spec, spec.reference), ""
        load = self.project.loads.get(spec.name)
        passed = version if load and load.takes_version else None
        weights = spec.weights_of(version)
        files = _sources(spec, spec.source)
        if weights:
            files["weights"] = _path(spec, weights[0])
        params = {
            "source": _path(spec, spec.source),
            "version": passed,
            "weights": files.get("weights"),
            **tensors,
        }
        own = passed or (version if spec.versions[version].weights else None)
        return params, files, f" {own}" if own else ""

    def config(self, name: str, params: dict[str, Any], reference: str | None) -> str:
        return self.add(
            Action(
                id=f"config {name}",
                stage="config",
                params=params,
                inputs={"reference": reference} if reference and params["warmup"] else {},
                tools=self.toolchain.of("config"),
            )
        )

    def ensemble(self, spec: EnsembleSpec) -> ModelPlan:
        files: dict[str, str] = {}
        requires: set[str] = set()
        steps, samples = self.wired(spec, files, requires)
        dims = self.project.interfaces[spec.name].dims
        reference = self.add(
            Action(
                id=f"reference {spec.name}",
                stage="reference",
                params={
                    "steps": steps,
                    "samples": samples,
                    "inputs": _json(spec.inputs),
                    "outputs": _json(spec.outputs),
                    "dims": _json(dims),
                },
                files=files,
                tools=self.toolchain.of("reference", sorted(requires)),
                affinity=spec.name,
            )
        )
        params = _composition(spec, self.project)
        config = self.config(spec.name, params, None)
        precision = self.weakest(spec)
        version = VersionPlan(spec.version, precision, None, reference, None)
        return ModelPlan(spec.name, (version,), config)

    def wired(
        self, spec: EnsembleSpec, files: dict[str, str], requires: set[str]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """An ensemble's steps as references of its members, and where its samples come from."""
        steps: list[dict[str, Any]] = []
        samples: list[dict[str, Any]] = []
        for step in spec.steps:
            if step.model in self.project.ensembles:
                inner = self.project.ensembles[step.model]
                below, theirs = self.wired(inner, files, requires)
                tensors = {"inputs": _json(inner.inputs), "outputs": _json(inner.outputs)}
                reference: dict[str, Any] = {"steps": below, **tensors}
                sources = theirs
            else:
                member = self.project.models[step.model]
                reference, own, _ = self.recipe(member, step.version or member.served[-1])
                own |= _sources(member, member.samples)
                files |= {f"{step.model} {role}": path for role, path in own.items()}
                requires |= set(member.requires)
                same = {name: name for name in member.inputs}
                sources = [{"samples": _path(member, member.samples), "inputs": same}]
            steps.append(
                {"reference": reference, "inputs": dict(step.inputs), "outputs": dict(step.outputs)}
            )
            for source in sources:
                outer = {
                    step.inputs[port]: name
                    for port, name in source["inputs"].items()
                    if step.inputs.get(port) in spec.inputs
                }
                if outer:
                    samples.append({"samples": source["samples"], "inputs": outer})
        return steps, samples

    def weakest(self, spec: EnsembleSpec) -> str:
        """The lowest precision among the members: what the ensemble can promise."""
        order = ("fp32", "fp16", "int8")
        found = []
        for step in spec.steps:
            if step.model in self.project.ensembles:
                found.append(self.weakest(self.project.ensembles[step.model]))
            else:
                member = self.project.models[step.model]
                version = step.version or member.served[-1]
                found.append(member.precision(_same(member, version), self.target.device))
        return max(found, key=order.index)


def _same(member: ModelSpec, version: str) -> str:
    """The member's own way of writing a version."""
    return next(v for v in member.versions if number(v) == number(version))


def _serving(spec: ModelSpec, target: Target) -> dict[str, Any]:
    """A model's parameters for `builder.triton.config.model_config`."""
    batching = spec.batching or None
    return {
        "name": spec.name,
        "backend": "python" if spec.format == "python" else "onnxruntime",
        "max_batch_size": spec.max_batch,
        **_tensors(spec),
        "versions": [number(v) for v in spec.served],
        "latest": getattr(spec.serve, "latest", None),
        "batching": _json(batching) if batching and spec.batched else None,
        "timeout_us": spec.timeout,
        "instances": spec.instance_count,
        "kind": "KIND_GPU" if target.device == "gpu" and spec.format != "python" else "KIND_CPU",
        "warmup": list(dict.fromkeys(spec.warmup)),
        "config": spec.config,
        "where": f"models/{spec.name}/model.yaml config",
    }


def _composition(spec: EnsembleSpec, project: Project) -> dict[str, Any]:
    """An ensemble's parameters for `builder.triton.config.model_config`."""
    dims = project.interfaces[spec.name].dims
    steps = []
    for step in spec.steps:
        versions = project.interfaces[step.model].versions
        steps.append(
            {
                "model": step.model,
                "version": number(step.version or versions[-1]),
                "inputs": dict(step.inputs),
                "outputs": dict(step.outputs),
            }
        )
    return {
        "name": spec.name,
        "max_batch_size": dims["batch"].max if spec.batched else 0,
        "inputs": _json(spec.inputs),
        "outputs": _json(spec.outputs),
        "dims": _json(dims),
        "versions": [number(spec.version)],
        "steps": steps,
        "warmup": [],
        "where": f"ensembles/{spec.name}/ensemble.yaml",
    }


def _tensors(spec: ModelSpec) -> dict[str, Any]:
    return {
        "inputs": _json(spec.inputs),
        "outputs": _json(spec.outputs),
        "dims": _json(spec.dims),
    }


def _tolerance(spec: ModelSpec) -> Any:
    return _json(spec.tolerance)


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: item.model_dump(mode="json") for name, item in value.items()}
    return value.model_dump(mode="json", exclude_none=True)


def _path(spec: ModelSpec, reference: str) -> str:
    return f"models/{spec.name}/{reference}"


def _sources(spec: ModelSpec, reference: str | None) -> dict[str, str]:
    """The file of a `file.py:function` reference, by its name as its role."""
    if not reference:
        return {}
    file = reference.partition(":")[0]
    return {file: _path(spec, file)}
