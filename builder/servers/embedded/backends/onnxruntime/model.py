"""Triton's `onnxruntime` backend, in Python, for the embedded server on a CPU.

Serves the very repository that the container's native backend serves, from the same
config.pbtxt, and refuses at load what that one would refuse. Triton's core does the
batching, versions and warm-up; here a batch is run.

The rules about shapes, scalars and parameters are those of the native backend:
github.com/triton-inference-server/onnxruntime_backend, README and `ValidateInputs`.
"""

from __future__ import annotations

import json
import locale
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

# The stub starts Python in the C locale, where reading UTF-8 text fails.
locale.setlocale(locale.LC_ALL, "C.UTF-8")

ELEMENTS = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
"""ONNX Runtime's type names by the names that config.pbtxt uses."""

RUN_SETTINGS = ("memory.enable_memory_arena_shrinkage",)
MOST = 500
"""Characters of an error that a log is told."""
SWITCHES = {"enable_mem_arena": "enable_cpu_mem_arena", "enable_mem_pattern": "enable_mem_pattern"}


class TritonPythonModel:
    """One instance of one version of a model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the version's ONNX file and checks the config against it."""
        if int(np.__version__.split(".")[0]) >= 2:  # noqa: PLR2004
            raise pb.TritonModelException(
                f"NumPy {np.__version__} corrupts tensors in this server's Python stub without "
                "a word: the environment it runs in must hold NumPy 1.26"
            )
        import onnxruntime

        config = json.loads(args["model_config"])
        name = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / name
        if path.is_dir():
            path /= "model.onnx"
        if not path.is_file():
            raise pb.TritonModelException(f"{args['model_name']}: there is no file {path}")
        options = _session_options(onnxruntime, config)
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise pb.TritonModelException(
                f"ONNX Runtime {onnxruntime.__version__} refuses {path}: {error}"
            ) from error
        self.name = f"{args['model_name']} {args['model_version']}"
        self.told: set[str] = set()
        self.batched = int(config.get("max_batch_size", 0)) > 0
        problems = _mismatches(self.session, config, batched=self.batched)
        if problems:
            where = f"{self.name}: config.pbtxt does not fit {name}"
            raise pb.TritonModelException("; ".join([where, *problems]))
        self.run_options = onnxruntime.RunOptions()
        for key in RUN_SETTINGS:
            value = _parameter(config, key)
            if value is not None:
                self.run_options.add_run_config_entry(key, value)
        # A tensor without dimensions is [1] in config.pbtxt, which knows no empty dims.
        self.scalar_inputs = {i.name for i in self.session.get_inputs() if not i.shape}
        declared = {o["name"]: _dims(o) for o in config["output"]}
        scalars = {o.name for o in self.session.get_outputs() if not o.shape}
        self.scalar_outputs = {k: dims for k, dims in declared.items() if k in scalars}

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers Triton's batch with one run, or request by request where that fails."""
        if not self.batched or len(requests) == 1:
            return [self._alone(request) for request in requests]
        try:
            return self._together(requests)
        except Exception as error:  # noqa: BLE001 - whose fault it was, the lone runs will tell
            why = f"{type(error).__name__}: {error}"
        answers = [self._alone(request) for request in requests]
        self._tell(len(answers), sum(answer.has_error() for answer in answers), why)
        return answers

    def _tell(self, count: int, refused: int, why: str) -> None:
        """Says why a batch fell apart: once of each kind for all to see, then to who asks."""
        if refused:
            kind = "was run one by one, since not all of it can be answered"
        else:
            kind = "was run one by one, which is slower, since it does not run at once"
        log = pb.Logger.log_verbose if kind in self.told else pb.Logger.log_warn
        self.told.add(kind)
        log(f"{self.name}: a batch of {count} requests {kind}: {why[:MOST]}")

    def _alone(self, request: Any) -> Any:
        try:
            names = list(request.requested_output_names())
            return _response(names, self._run(names, self._feed(request)))
        except Exception as error:  # noqa: BLE001 - the port: every failure is an answer to its client
            return pb.InferenceResponse(error=pb.TritonError(f"{type(error).__name__}: {error}"))

    def _together(self, requests: list[Any]) -> list[Any]:
        feeds = [self._feed(request) for request in requests]
        wanted = [request.requested_output_names() for request in requests]
        names = list(dict.fromkeys(name for some in wanted for name in some))
        feed = {name: np.concatenate([f[name] for f in feeds]) for name in feeds[0]}
        sizes = [len(next(iter(f.values()))) for f in feeds]
        outputs = dict(zip(names, self._run(names, feed), strict=True))
        for name, array in outputs.items():
            if len(array) != sum(sizes):
                raise ValueError(f"output {name} has {len(array)} rows for a batch of {sum(sizes)}")
        responses, start = [], 0
        for some, size in zip(wanted, sizes, strict=True):
            rows = slice(start, start + size)
            responses.append(_response(some, [outputs[name][rows] for name in some]))
            start += size
        return responses

    def _feed(self, request: Any) -> dict[str, Any]:
        feed = {}
        for tensor in request.inputs():
            name, array = tensor.name(), tensor.as_numpy()
            if array.dtype == np.object_:
                array = _texts(name, array)
            feed[name] = array.reshape(()) if name in self.scalar_inputs else array
        return feed

    def _run(self, names: list[str], feed: dict[str, Any]) -> list[Any]:
        outputs: list[Any] = self.session.run(names, feed, self.run_options)
        if not self.scalar_outputs:
            return outputs
        shapes = self.scalar_outputs
        return [
            np.reshape(array, shapes[name]) if name in shapes else array
            for name, array in zip(names, outputs, strict=True)
        ]


def _response(names: list[str], arrays: list[Any]) -> Any:
    return pb.InferenceResponse([pb.Tensor(n, a) for n, a in zip(names, arrays, strict=True)])


def _texts(name: str, array: Any) -> Any:
    """ONNX strings are UTF-8 text; given bytes, ONNX Runtime would take their repr."""
    texts = np.empty(array.size, dtype=np.object_)
    try:
        texts[:] = [item.decode() for item in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise ValueError(f"input {name} holds bytes that are not UTF-8: {error}") from error
    return texts.reshape(array.shape)


def _parameter(config: dict[str, Any], key: str) -> str | None:
    value = config.get("parameters", {}).get(key, {}).get("string_value")
    return None if value is None else str(value)


def _session_options(onnxruntime: Any, config: dict[str, Any]) -> Any:
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    # The native backend's own numbers: 0 is all, and 2 is none.
    options.graph_optimization_level = {
        -1: levels.ORT_ENABLE_BASIC,
        1: levels.ORT_ENABLE_EXTENDED,
        2: levels.ORT_DISABLE_ALL,
    }.get(level, levels.ORT_ENABLE_ALL)
    if _number(config, "execution_mode", 1):
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.intra_op_num_threads = _number(config, "intra_op_thread_count")
    options.inter_op_num_threads = _number(config, "inter_op_thread_count")
    for key, attribute in SWITCHES.items():
        value = _parameter(config, key)
        if value is not None:
            setattr(options, attribute, value.lower() in {"1", "true"})
    for key in config.get("parameters", {}):
        value = _parameter(config, key)
        if key.startswith("session.") and value is not None:
            options.add_session_config_entry(key, value)
    return options


def _number(config: dict[str, Any], key: str, most: int = 1024) -> int:
    value = _parameter(config, key) or "0"
    if not value.isdigit() or int(value) > most:
        raise pb.TritonModelException(f"parameter {key}: 0 to {most} was expected, not {value!r}")
    return int(value)


def _dims(tensor: dict[str, Any]) -> list[int]:
    reshape = tensor.get("reshape")
    return [int(dim) for dim in (reshape.get("shape", []) if reshape else tensor["dims"])]


def _mismatches(session: Any, config: dict[str, Any], *, batched: bool) -> list[str]:
    """What in config.pbtxt the native backend would refuse for this ONNX model."""
    required = {i.name: i for i in session.get_inputs()}
    inputs = {i.name: i for i in session.get_overridable_initializers()} | required
    outputs = {o.name: o for o in session.get_outputs()}
    declared = {i["name"] for i in config["input"]}
    problems = [
        f"input {name} of the model is not declared" for name in required if name not in declared
    ]
    for tensor in config["input"]:
        if tensor.get("optional") and batched:
            problems.append(f"input {tensor['name']}: optional inputs do not go with batching")
        problems += _mismatch("input", tensor, inputs, batched=batched)
    for tensor in config["output"]:
        problems += _mismatch("output", tensor, outputs, batched=batched)
    if config.get("sequence_batching", {}).get("state"):
        problems.append("sequence_batching.state is not supported by the embedded server")
    return problems


def _mismatch(
    side: str, tensor: dict[str, Any], model: dict[str, Any], *, batched: bool
) -> list[str]:
    name, dims = tensor["name"], _dims(tensor)
    if name not in model:
        return [f"{side} {name} is unknown to the model, which has {', '.join(model)}"]
    problems = []
    found = ELEMENTS.get(model[name].type, model[name].type)
    if found != tensor["data_type"]:
        problems.append(f"{side} {name} is declared {tensor['data_type']}, the model has {found}")
    shape = [dim if isinstance(dim, int) else -1 for dim in model[name].shape]
    full = [-1, *dims] if batched else dims
    if not shape and not batched:
        fits = all(dim == 1 for dim in dims)
    elif batched and (not shape or shape[0] != -1):
        problem = f"{side} {name} has shape {shape} in the model, which lacks a free first "
        return [*problems, problem + "dimension for max_batch_size"]
    else:
        # An input may be declared narrower than the model takes it, an output may not.
        fits = len(shape) == len(full) and all(
            have in (want, -1) if side == "input" else have == want
            for have, want in zip(shape, full, strict=True)
        )
    if not fits:
        problems.append(f"{side} {name} is declared {full}, the model has {shape}")
    return problems
