"""Memory that large objects come into: kept between one part and the next.

Each part is a new block of some MiB. The C library takes such from the system and gives them back
at once, and the system has to clear every page anew: as long as the rest of the work on it.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of mallopt(3), glibc's."""

PLENTY = 1 << 30


@contextmanager
def kept() -> Iterator[None]:
    """Has the C library keep what is freed until this is left; with another than glibc, nothing."""
    library = ctypes.CDLL(None)
    set_option = getattr(library, "mallopt", None)
    if set_option:
        set_option(M_MMAP_THRESHOLD, PLENTY)
        set_option(M_TRIM_THRESHOLD, PLENTY)
    try:
        yield
    finally:
        trim = getattr(library, "malloc_trim", None)
        if trim:
            trim(0)
