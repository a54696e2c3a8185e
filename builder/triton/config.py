"""config.pbtxt: what a spec means in Triton's own words.

The message is NVIDIA's own (tritonclient's model_config.proto), so that every field a spec
sets under `config:` is checked against it. The text is written for people: fields in the
order of `ORDER`, short lists on one line, and an explicit `max_batch_size: 0`, which
proto3 would leave out and auto-complete would then fill in.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import InputError, MissingError
from builder.spec.document import suggestion
from builder.spec.tensor import BATCH
from builder.triton.dtypes import BY_SPEC

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OWNED = {
    "name": "name",
    "backend": "format",
    "platform": "format",
    "input": "inputs",
    "output": "outputs",
    "max_batch_size": "dims.batch.max",
    "version_policy": "serve",
    "model_warmup": "warmup",
    "ensemble_scheduling": "steps",
}
"""Fields that follow from the rest of a spec, and where they are set there."""

COMPLETED = {
    "onnxruntime": ("onnxruntime_onnx", "model.onnx"),
    "python": ("", "model.py"),
    "tensorrt": ("tensorrt_plan", "model.plan"),
}
"""Platform and file name that the server would fill in for a backend by itself. Written out, the
config that is served is the config that was built. There is no `model.plan`: plans have the names
that `cc_model_filenames` gives them, and a GPU of another capability loads none."""

ORDER = ("name", "backend", "platform", "max_batch_size", "input", "output", "version_policy")


@dataclass(frozen=True)
class Warmup:
    """One warm-up request: its files lie under `warmup/` in the model's folder.

    `dims` are without the batch; a file holds one row, which Triton repeats `batch` times.
    """

    name: str
    batch: int
    inputs: Mapping[str, tuple[str, Sequence[int], str]]  # input → (dtype, dims, file)


@cache
def proto() -> Any:
    """The module of ModelConfig, without the rest of tritonclient, which imports gRPC."""
    found = importlib.util.find_spec("tritonclient")
    places = list(found.submodule_search_locations or []) if found else []
    for place in places:
        file = Path(place) / "grpc" / "model_config_pb2.py"
        if file.is_file():
            name = "builder.triton._model_config_pb2"
            spec = importlib.util.spec_from_file_location(name, file)
            if spec and spec.loader:
                module = importlib.util.module_from_spec(spec)
                sys.modules[name] = module
                spec.loader.exec_module(module)
                return module
    raise MissingError("tritonclient is not installed", fix="pip install 'tritonclient[grpc,http]'")


def model_config(params: Mapping[str, Any], warmups: Sequence[Warmup] = ()) -> Any:
    """A ModelConfig message.

    Args:
        params: JSON values: name, backend or platform, max_batch_size, batched, inputs and
            outputs (spec tensors), versions (numbers), latest (or None), batching (or None),
            timeout_us (or None), instances, kind, steps (for ensembles), config (the spec's
            own fields), where (for messages); for plans also plans (file by compute
            capability) and profiles (how many); optimization (a ModelOptimizationPolicy) where
            there is something to say.
        warmups: requests that the server runs before it says that the model is ready.

    Raises:
        InputError: `config:` names a field that ModelConfig has not, or sets one that the
            rest of the spec decides.
    """
    pb = proto()
    config = pb.ModelConfig(name=params["name"], max_batch_size=params["max_batch_size"])
    if params.get("steps"):
        config.platform = "ensemble"
    else:
        config.backend = params["backend"]
        config.platform, config.default_model_filename = COMPLETED[params["backend"]]
    batched = params["max_batch_size"] > 0
    for side, tensors in ((config.input, params["inputs"]), (config.output, params["outputs"])):
        for name, tensor in tensors.items():
            axes = dims(tensor["shape"], batched=batched)
            entry = side.add(
                name=name,
                data_type=pb.DataType.Value(BY_SPEC[tensor["dtype"]].config),
                dims=axes or [1],
            )
            if not axes and batched and not params.get("steps"):
                entry.reshape.SetInParent()
    _policy(config, params)
    if params.get("steps"):
        for step in params["steps"]:
            config.ensemble_scheduling.step.add(
                model_name=step["model"],
                model_version=step["version"],
                input_map=step["inputs"],
                output_map=step["outputs"],
            )
    else:
        _running(config, params)
        if batched and params["batching"] is not None:
            _batching(config, params)
    for warmup in warmups:
        sample = config.model_warmup.add(name=warmup.name, batch_size=warmup.batch)
        for name, (dtype, shape, file) in warmup.inputs.items():
            entry = sample.inputs[name]
            entry.data_type = pb.DataType.Value(BY_SPEC[dtype].config)
            entry.dims.extend(shape)
            entry.input_data_file = file
    return _merged(config, params)


def dims(shape: Sequence[int | str], *, batched: bool) -> list[int]:
    """A spec's shape as Triton's dims: without the batch, -1 for what varies.

    A model that does not batch keeps every axis. Where none is left, dims cannot say so: such a
    tensor travels as one element (dims [1]) and is reshaped to [] for the backend. Not so in
    ensembles, whose members do it, nor where nothing is batched: there Triton refuses an empty
    reshape, and the ONNX Runtime backend takes one element for a scalar.
    """
    axes = list(shape[1:] if batched and shape[:1] == [BATCH] else shape)
    return [-1 if isinstance(size, str) else size for size in axes]


def check_overrides(config: Mapping[str, Any], where: str) -> None:
    """Checks a spec's `config:` without building anything.

    Raises:
        InputError: as `model_config`.
    """
    base = proto().ModelConfig()
    _merged(base, {"config": config, "where": where})


def _policy(config: Any, params: Mapping[str, Any]) -> None:
    if params.get("latest"):
        config.version_policy.latest.num_versions = params["latest"]
    else:
        config.version_policy.specific.versions.extend(params["versions"])


def _running(config: Any, params: Mapping[str, Any]) -> None:
    """Where instances run, and on a GPU which plans, by which profiles, and how fast."""
    from google.protobuf import json_format

    config.instance_group.add(
        count=params["instances"],
        kind=proto().ModelInstanceGroup.Kind.Value(params["kind"]),
        # Where none is named, Triton's TensorRT backend takes the first alone
        profile=[str(place) for place in range(params.get("profiles", 0))],
    )
    config.cc_model_filenames.update(params.get("plans", {}))
    if params.get("optimization"):
        json_format.ParseDict(params["optimization"], config.optimization)


def _batching(config: Any, params: Mapping[str, Any]) -> None:
    batching, pb = params["batching"], proto()
    dynamic = config.dynamic_batching
    dynamic.SetInParent()
    dynamic.preferred_batch_size.extend(batching["preferred"])
    dynamic.max_queue_delay_microseconds = batching["max_queue_delay"]
    queue = dynamic.default_queue_policy
    if batching["max_queue_size"]:
        queue.max_queue_size = batching["max_queue_size"]
    if params["timeout_us"]:
        queue.timeout_action = pb.ModelQueuePolicy.TimeoutAction.REJECT
        queue.default_timeout_microseconds = params["timeout_us"]
        queue.allow_timeout_override = True


def _merged(config: Any, params: Mapping[str, Any]) -> Any:
    """The message with the spec's own `config:` laid over it."""
    from google.protobuf import json_format

    extra = dict(params.get("config") or {})
    where = params["where"]
    for field in extra:
        if field in OWNED:
            raise InputError(
                f"`config.{field}` is decided by `{OWNED[field]}`",
                where=where,
                fix=f"remove it from config, and set `{OWNED[field]}`",
            )
        if field not in config.DESCRIPTOR.fields_by_name:
            known = list(config.DESCRIPTOR.fields_by_name)
            raise InputError(
                f"ModelConfig has no field `{field}`",
                where=where,
                found=field,
                fix=suggestion(field, known) or "see Triton's model_config.proto",
            )
    message = type(config)()
    try:
        json_format.ParseDict(extra, message)
    except json_format.ParseError as e:
        raise InputError(
            "`config` does not fit ModelConfig",
            where=where,
            found=str(e),
            expected="the fields and types of Triton's model_config.proto",
        ) from e
    for field in extra:
        if field not in {"dynamic_batching", "optimization"}:
            config.ClearField(field)  # lists are replaced, not lengthened
    config.MergeFrom(message)
    return config


def render(config: Any) -> str:
    """The text of config.pbtxt."""
    from google.protobuf import text_format

    names = [f.name for f in config.DESCRIPTOR.fields]
    present = {f.name for f, _ in config.ListFields()} | {"max_batch_size"}
    ordered = [n for n in ORDER if n in present] + [
        n for n in names if n in present and n not in ORDER
    ]
    blocks: list[str] = []
    for name in ordered:
        if name == "max_batch_size":
            text = f"max_batch_size: {config.max_batch_size}\n"
        else:
            part = type(config)()
            field = config.DESCRIPTOR.fields_by_name[name]
            _copy(part, config, field)
            text = text_format.MessageToString(part, use_short_repeated_primitives=True)
        scalar = "{" not in text
        joined = blocks and scalar and "{" not in blocks[-1]
        if joined:
            blocks[-1] += text
        else:
            blocks.append(text)
    return "\n".join(blocks)


def _copy(part: Any, config: Any, field: Any) -> None:
    """Copies one field, whatever its kind."""
    part.CopyFrom(config)
    for other, _ in config.ListFields():
        if other.name != field.name:
            part.ClearField(other.name)
