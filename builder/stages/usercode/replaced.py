"""Functions and methods of others that are something else for a while."""

from __future__ import annotations

import ctypes
import gc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack


def attribute(stack: ExitStack, holder: Any, name: str, wrapper: Any) -> None:
    """Replaces an attribute until the stack is left."""
    before = getattr(holder, name)

    def back() -> None:
        if getattr(holder, name) is wrapper:  # else a source has put something of its own there
            setattr(holder, name, before)

    setattr(holder, name, wrapper)
    stack.callback(back)


def slot(stack: ExitStack, kind: type, name: str, make: Callable[[Any], Any]) -> None:
    """Replaces a method of a class written in C until the stack is left.

    Such classes refuse `setattr`. A subclass in their place would fail `isinstance`, so the
    dict of the class itself is changed, and the interpreter told (PyType_Modified).
    """
    slots: Sequence[Any] = gc.get_referents(vars(kind))
    methods: dict[str, Any] = slots[0]
    before = methods[name]

    def put(value: Any) -> None:
        methods[name] = value
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))

    put(make(before))
    stack.callback(put, before)
