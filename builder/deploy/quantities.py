"""Amounts as Kubernetes writes them."""

from __future__ import annotations

UNITS = ((2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki"))


def size(count: int) -> str:
    """Bytes in the largest unit that divides them: `512Mi`, `2Gi`."""
    for scale, unit in UNITS:
        if count and count % scale == 0:
            return f"{count // scale}{unit}"
    return str(count)


def cores(text: str) -> str:
    """Cores in their shortest form: `0.5` is `500m`, `2.0` is `2`."""
    milli = int(text[:-1]) if text.endswith("m") else round(float(text) * 1000)
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"
