"""A torch model called the way the spec says: arrays by name in, arrays by name out."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from builder.stages.usercode.signature import Signature

    Array = np.ndarray[Any, Any]


class AnswerError(InputError):
    """What a model returned does not fit the outputs of the spec."""


def adapter(module: torch.nn.Module, signature: Signature, where: str) -> torch.nn.Module:
    """The model as one of positional tensors in the spec's order, to a tuple in its order.

    Inputs go in by keyword where the parameters of `forward` have the spec's names, else by
    position. Outputs are matched by name where the answer has names that fit, else by order.
    """
    import torch

    inputs, outputs = tuple(signature.inputs), tuple(signature.outputs)
    keyword = _takes(module.forward, inputs)

    class Adapter(torch.nn.Module):  # type: ignore[misc]  # torch has no types here
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            if keyword:
                answer = self.model(**dict(zip(inputs, tensors, strict=True)))
            else:
                answer = self.model(*tensors)
            return arranged(answer, outputs, where)

    return Adapter().eval()


def arranged(answer: Any, names: Sequence[str], where: str) -> tuple[torch.Tensor, ...]:
    """The tensors of a model's answer in the order of `names`.

    Raises:
        AnswerError: there are not as many as there are names.
    """
    fields = _fields(answer)
    if fields is not None and all(_is_tensor(fields.get(name)) for name in names):
        return tuple(fields[name] for name in names)
    tensors = _tensors(list(fields.values()) if fields is not None else answer)
    if len(tensors) != len(names):
        found = ", ".join(fields) if fields is not None else f"{len(tensors)} tensors"
        raise AnswerError(
            f"the model returns {len(tensors)} outputs where the spec has {len(names)}",
            where=f"{where} outputs",
            found=f"{type(answer).__name__} of {found}",
            expected=", ".join(names),
            fix="declare every output, or return a dict with the declared names",
        )
    return tuple(tensors)


def answers(
    model: torch.nn.Module, inputs: Mapping[str, Array], signature: Signature
) -> dict[str, Any]:
    """What the model answers, by output name, as it comes: unchecked."""
    import torch

    tensors = [tensor(inputs[name]) for name in signature.inputs]
    with torch.no_grad(), plain_attention():
        found = model(*tensors)
    return {
        name: value.detach().cpu().resolve_conj().resolve_neg().numpy()
        for name, value in zip(signature.outputs, found, strict=True)
    }


@contextmanager
def plain_attention() -> Iterator[None]:
    """Switches off the fused kernel of `nn.TransformerEncoder` and `nn.MultiheadAttention`.

    It answers differently at padded places, and no exporter knows it.
    """
    import torch

    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


def tensor(array: Array) -> torch.Tensor:
    """A tensor of its own memory: the caller's array stays as it is."""
    import torch

    return torch.from_numpy(np.array(array, order="C", copy=True))


def _takes(forward: Callable[..., Any], names: Sequence[str]) -> bool:
    try:
        parameters = inspect.signature(forward).parameters
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return all(name in parameters and parameters[name].kind in kinds for name in names)


def _fields(answer: Any) -> dict[str, Any] | None:
    if isinstance(answer, Mapping):
        return {str(key): value for key, value in answer.items()}
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        return {f.name: getattr(answer, f.name) for f in dataclasses.fields(answer)}
    if isinstance(answer, tuple) and hasattr(answer, "_fields"):
        return dict(zip(answer._fields, answer, strict=True))
    return None


def _tensors(answer: Any) -> list[Any]:
    """Every tensor of nested tuples, lists and dicts, in order."""
    if _is_tensor(answer):
        return [answer]
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    if isinstance(answer, tuple | list):
        return [found for item in answer for found in _tensors(item)]
    return []


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
