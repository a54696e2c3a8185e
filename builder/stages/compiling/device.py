"""Which of a machine's GPUs a plan is built on: TensorRT builds for the one that is current.

Asked of the driver itself (libcuda), which is there wherever a GPU can be used.
"""

from __future__ import annotations

import ctypes
from typing import Any

from builder.errors import MissingError, WorkFailedError

DRIVER = "libcuda.so.1"
MAJOR, MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h."""


def driver() -> Any:
    """The driver's library; None where there is none."""
    try:
        return ctypes.CDLL(DRIVER)
    except OSError:
        return None


def use(capability: str, cuda: Any) -> None:
    """Makes the first GPU of a compute capability the current one of this thread.

    Args:
        capability: `9.0`.
        cuda: `driver()`.

    Raises:
        MissingError: there is no driver, or no such GPU.
        WorkFailedError: the driver refuses.
    """
    if cuda is None:
        raise _none(capability, "no NVIDIA driver")
    _call(cuda, "cuInit", 0)
    count = ctypes.c_int()
    _call(cuda, "cuDeviceGetCount", ctypes.byref(count))
    found = []
    for place in range(count.value):
        device = ctypes.c_int()
        _call(cuda, "cuDeviceGet", ctypes.byref(device), place)
        found.append(".".join(str(_attribute(cuda, kind, device)) for kind in (MAJOR, MINOR)))
        if found[-1] == capability:
            context = ctypes.c_void_p()
            _call(cuda, "cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
            _call(cuda, "cuCtxSetCurrent", context)
            return
    raise _none(capability, ", ".join(found) or "no GPU")


def _attribute(cuda: Any, kind: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _call(cuda, "cuDeviceGetAttribute", ctypes.byref(value), kind, device)
    return value.value


def _call(cuda: Any, name: str, *arguments: Any) -> None:
    status = getattr(cuda, name)(*arguments)
    if status:
        raise WorkFailedError(
            "the NVIDIA driver refuses",
            found=f"{name} gave {status} (CUresult of cuda.h)",
            fix="see whether `nvidia-smi` shows the GPU, and whether something else has it alone",
        )


def _none(capability: str, found: str) -> MissingError:
    return MissingError(
        f"there is no GPU of compute capability {capability}",
        found=found,
        expected=capability,
        fix="build on a machine that has one, or let a cluster do it: --executor ray",
    )
