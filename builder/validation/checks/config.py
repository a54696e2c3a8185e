"""What is served is what was built: the config, field by field, and the metadata.

A server that completes configs on its own may turn on batching or widen a batch; everything
that the server is known to fill in is filled in here first, and nothing else may differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.validation.verdict import failed, passed

if TYPE_CHECKING:
    from builder.validation.case import Case
    from builder.validation.verdict import Finding

OF_THE_BACKEND = ("platform", "runtime", "default_model_filename")
"""What a backend calls itself, its code and its files: `onnxruntime_onnx`, `model.py`."""
SHOWN = 4
"""So many differing fields are told; the rest is counted."""


def served_config(case: Case) -> Finding:
    """The served ModelConfig equals the built one, but for the server's own defaults."""
    served = case.client.config(case.subject.name)
    expected = with_defaults(case.config, served)
    differences = unlike(flat(expected), flat(served))
    if differences:
        shown = differences[:SHOWN]
        names = ", ".join(path for path, _, _ in shown)
        more = f" and {len(differences) - SHOWN} more" if differences[SHOWN:] else ""
        return failed(
            "config",
            f"the server serves another config than was built: {names}{more}",
            expected="; ".join(f"{path} = {built}" for path, built, _ in shown),
            found="; ".join(f"{path} = {found}" for path, _, found in shown),
            figure=f"{len(differences)} fields differ",
            figures={"differing": len(differences)},
        )
    count = len(flat(served))
    return passed("config", f"{count} fields", "served as it was built", fields=count)


def served_metadata(case: Case) -> Finding:
    """Names, dtypes and shapes of inputs and outputs, and the versions, as built."""
    found = case.client.metadata(case.subject.name, case.version.number)
    expected = metadata(case.config)
    got = {
        side: sorted((t["name"], t["datatype"], tuple(t["shape"])) for t in found[side])
        for side in ("inputs", "outputs")
    }
    for side, tensors in expected.items():
        if got[side] != tensors:
            return failed(
                "metadata",
                f"the server describes other {side} than were built",
                expected=_tensors(tensors),
                found=_tensors(got[side]),
            )
    numbers = sorted(v.number for v in case.subject.versions)
    served = sorted(int(v) for v in case.client.metadata(case.subject.name)["versions"])
    if served != numbers:
        return failed(
            "metadata",
            "the server serves other versions than were built",
            expected=f"versions {numbers}",
            found=f"versions {served}",
        )
    figure = f"{len(expected['inputs'])} inputs, {len(expected['outputs'])} outputs"
    return passed("metadata", figure, "described as built")


def metadata(config: Any) -> dict[str, list[tuple[str, str, tuple[int, ...]]]]:
    """What a config makes the metadata say: dtype names without TYPE_, -1 for the batch."""
    from tritonclient.grpc import model_config_pb2

    batch = (-1,) if config.max_batch_size > 0 else ()

    def described(tensors: Any) -> list[tuple[str, str, tuple[int, ...]]]:
        names = model_config_pb2.DataType.Name
        rows = []
        for t in tensors:
            dtype = names(t.data_type).removeprefix("TYPE_").replace("STRING", "BYTES")
            rows.append((t.name, dtype, (*batch, *t.dims)))
        return sorted(rows)

    return {"inputs": described(config.input), "outputs": described(config.output)}


def with_defaults(built: Any, served: Any) -> Any:
    """The built config with what Triton (measured on 24.10) fills in where nothing is said.

    Values follow from the built config alone, except for what belongs to the backend
    (`OF_THE_BACKEND`) or to the machine (the kind of an instance): those are the served ones
    wherever the built config leaves them open.
    """
    full = type(built)()
    full.CopyFrom(built)
    if full.WhichOneof("scheduling_choice") == "dynamic_batching":
        batching = full.dynamic_batching
        if not batching.preferred_batch_size:
            batching.preferred_batch_size.append(full.max_batch_size)
    if full.version_policy.WhichOneof("policy_choice") is None:
        full.version_policy.latest.num_versions = 1
    if full.WhichOneof("scheduling_choice") == "ensemble_scheduling":
        full.model_transaction_policy.SetInParent()
        return full
    _instances(full, served)
    for name in OF_THE_BACKEND:
        setattr(full, name, getattr(full, name) or getattr(served, name))
    for memory in ("input_pinned_memory", "output_pinned_memory"):
        if not full.optimization.HasField(memory):
            getattr(full.optimization, memory).enable = True
    return full


def flat(config: Any) -> dict[str, str]:
    """A protobuf as `path: value` rows, every set field once."""
    from google.protobuf import json_format

    rows: dict[str, str] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(inner, f"{path}.{key}" if path else key)
        elif isinstance(value, list) and value:
            for place, inner in enumerate(value):
                walk(inner, f"{path}[{place}]")
        else:
            rows[path] = str(value)

    walk(json_format.MessageToDict(config, preserving_proto_field_name=True), "")
    return rows


def unlike(expected: dict[str, str], found: dict[str, str]) -> list[tuple[str, str, str]]:
    """The rows that differ: path, expected value, found value."""
    return [
        (path, expected.get(path, "not set"), found.get(path, "not set"))
        for path in sorted({*expected, *found})
        if expected.get(path) != found.get(path)
    ]


def _instances(full: Any, served: Any) -> None:
    if not full.instance_group:
        full.instance_group.add(name=full.name)
    for place, group in enumerate(full.instance_group):
        group.name = group.name or f"{full.name}_{place}"
        group.count = group.count or 1
        if group.kind == group.KIND_AUTO and place < len(served.instance_group):
            group.kind = served.instance_group[place].kind
            if not group.gpus:
                group.gpus.extend(served.instance_group[place].gpus)


def _tensors(tensors: list[tuple[str, str, tuple[int, ...]]]) -> str:
    return "; ".join(f"{name}: {dtype} {list(shape)}" for name, dtype, shape in tensors)
