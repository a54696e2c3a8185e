"""The ways from a torch module to ONNX, in the order in which they are worth trying.

Each is a function of a `Case`; what it raises means that it is no way for this model.
Whether a result is right is asked elsewhere (`proof.py`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.stages.exporting.onnx_graph import add_missing_inputs
from builder.stages.exporting.plain import plain_operators, translations
from builder.stages.exporting.sizes import dynamic
from builder.stages.usercode.answers import plain_attention, tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    import onnx_ir as ir
    import torch

    from builder.stages.usercode.signature import Signature

TORCHSCRIPT_OPSET = 20
"""The newest opset that the TorchScript exporter writes."""

NEWEST_OPSET = 23
"""The newest that torch has operators of (`torch.onnx.ops`)."""


@dataclass(frozen=True)
class Case:
    """What to export.

    Attributes:
        model: takes and returns tensors in the spec's order (`answers.adapter`).
        inputs: the example.
        signature: the spec's inputs, outputs and dimensions.
        opset: the opset wanted.
        scratch: a folder for files on the way.
    """

    model: torch.nn.Module
    inputs: Mapping[str, np.ndarray[Any, Any]]
    signature: Signature
    opset: int
    scratch: Path

    @property
    def names(self) -> list[str]:
        """Names of inputs for the exporter, which nothing in a model is called."""
        return [f"input.{name}" for name in self.signature.inputs]

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The example as tensors."""
        return tuple(tensor(self.inputs[name]) for name in self.signature.inputs)


@dataclass(frozen=True)
class Way:
    """A way to export.

    Attributes:
        name: for facts and messages.
        export: does it.
        example: which of `sizes.examples` it exports at.
        applies: whether it can make a difference to a model.
    """

    name: str
    export: Callable[[Case], ir.Model]
    example: int = 0
    applies: Callable[[torch.nn.Module], bool] = lambda _: True


def dynamo(case: Case) -> ir.Model:
    """`torch.export`, translated."""
    return _translated(case, case.model, case.tensors)


def dynamo_eager_attention(case: Case) -> ir.Model:
    """The same, with attention and experts in plain matrix products."""
    with _plainest(case.model):
        return dynamo(case)


def dynamo_plain(case: Case) -> ir.Model:
    """The same, with operators that exporters mistake said in plainer ones."""
    with plain_operators():
        return dynamo(case)


def dynamo_draft(case: Case) -> ir.Model:
    """`torch.export.draft_export`, which passes over what it cannot prove, translated."""
    import torch

    with _quiet(), torch.no_grad(), plain_attention():
        program = torch.export.draft_export(
            case.model, case.tensors, dynamic_shapes=_dynamic_shapes(case.signature)
        )
    return _translated(case, program, ())


def torchscript(case: Case) -> ir.Model:
    """The TorchScript exporter: a trace, with the named dimensions left open."""
    import onnx_ir as ir
    import torch

    names, outputs = case.names, [f"output.{name}" for name in case.signature.outputs]
    tensors = {**case.signature.inputs, **case.signature.outputs}
    axes = {
        label: {axis: size for axis, size in enumerate(t.shape) if isinstance(size, str)}
        for label, t in zip([*names, *outputs], tensors.values(), strict=True)
    }
    path = case.scratch / "traced.onnx"
    with (
        _quiet(),
        _silent_stdout(),
        torch.no_grad(),
        plain_attention(),
        _plainest(case.model),
    ):
        torch.onnx.export(
            case.model,
            case.tensors,
            path,
            dynamo=False,
            verbose=False,
            opset_version=min(case.opset, TORCHSCRIPT_OPSET),
            input_names=names,
            output_names=outputs,
            dynamic_axes=axes,
        )
    model = ir.load(path)
    add_missing_inputs(model.graph, case.signature.inputs, names)
    return model


PLAINEST = {"_attn_implementation": "eager", "_experts_implementation": "batched_mm"}
"""Where the configs of `transformers` keep which kernels a model runs, and the one of plain
matrix products."""


def _choices(model: torch.nn.Module) -> list[tuple[Any, str, str]]:
    """Configs, the key and the value, wherever it is not the plainest already."""
    configs = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    found = [(c, key, getattr(c, key, None)) for c in configs.values() for key in PLAINEST]
    return [(c, key, v) for c, key, v in found if isinstance(v, str) and v != PLAINEST[key]]


def _chooses(model: torch.nn.Module) -> bool:
    return bool(_choices(model))


def _pools(model: torch.nn.Module) -> bool:
    return any("Adaptive" in type(module).__name__ for module in model.modules())


@contextlib.contextmanager
def _plainest(model: torch.nn.Module) -> Iterator[None]:
    """Asks models that let one choose for plain matrix products."""
    before = _choices(model)
    try:
        for config, key, _ in before:
            setattr(config, key, PLAINEST[key])
        yield
    finally:
        for config, key, value in before:
            setattr(config, key, value)


WAYS = (
    Way("dynamo", dynamo),
    Way("dynamo, eager attention", dynamo_eager_attention, applies=_chooses),
    Way("dynamo, plain operators", dynamo_plain, applies=_pools),
    Way("torchscript", torchscript),
    Way("dynamo, other sizes", dynamo, example=1),
    Way("dynamo, draft", dynamo_draft),
    Way("torchscript, other sizes", torchscript, example=1),
)


def _translated(case: Case, model: Any, tensors: tuple[torch.Tensor, ...]) -> ir.Model:
    import torch

    shapes = _dynamic_shapes(case.signature) if tensors else None
    with _quiet(), torch.no_grad(), plain_attention():
        program = torch.onnx.export(
            model,
            tensors,
            dynamo=True,
            opset_version=case.opset,
            input_names=case.names,
            dynamic_shapes=shapes,
            custom_translation_table=translations(),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    found: ir.Model = program.model
    add_missing_inputs(found.graph, case.signature.inputs, case.names)
    return found


def _dynamic_shapes(signature: Signature) -> Any:
    """AUTO: an axis that the exporter fixes is found out afterwards, and can be named."""
    from torch.export import Dim

    names = dynamic(signature)
    if not names:
        return None
    return (
        tuple(
            {axis: Dim.AUTO for axis, size in enumerate(t.shape) if size in names}
            for t in signature.inputs.values()
        ),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What exporters print and warn of is for their authors; failures come as exceptions."""
    said = io.StringIO()
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _silent_stdout() -> Iterator[None]:
    """The TorchScript exporter prints whole graphs from C++, past Python's `sys.stdout`."""
    sys.stdout.flush()
    own, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(own, 1)
        os.close(own)
        os.close(nowhere)
