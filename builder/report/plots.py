"""Plots as inline SVG, drawn with the page's own colours so that they follow its theme.

Each function takes values and gives markup; nothing here knows what a model is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

WIDTH, LABEL, VALUE, ROW = 720, 190, 150, 26
PLOT = WIDTH - LABEL - VALUE
AXIS = 26
MANY = 5
"""So many nines are written in words."""

SPAN = Markup(
    '<line class="s-{0}" x1="{1:.1f}" x2="{2:.1f}" y1="{3}" y2="{3}"/>'
    '<circle class="s-{0}" cx="{1:.1f}" cy="{3}" r="5"/>'
    '<circle class="s-{0} end" cx="{2:.1f}" cy="{3}" r="3.5"/>'
)
LIMIT = Markup('<line class="limit" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>')
DOT = Markup(
    '<line class="stem" x1="{0}" x2="{1:.1f}" y1="{2}" y2="{2}"/>'
    '<circle class="s-{3}" cx="{1:.1f}" cy="{2}" r="5"/>'
)
TICK = Markup(
    '<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/>'
    '<text class="tick" x="{0:.1f}" y="{2}">{3}</text>'
)


@dataclass(frozen=True)
class Bar:
    """One horizontal bar: its length's value, its colour's name and the text at its end."""

    label: str
    value: float
    text: str
    series: str


@dataclass(frozen=True)
class Span:
    """A line from `low` to `high`, and a mark at `limit` where there is one."""

    label: str
    low: float
    high: float
    text: str
    series: str
    limit: float | None = None


@dataclass(frozen=True)
class Scale:
    """A logarithmic axis from `low` to `high`, with ticks at the powers of ten between."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float]) -> Scale:
        """The whole powers of ten around positive values."""
        known = [v for v in values if v > 0] or [1.0]
        low = math.floor(math.log10(min(known)))
        high = math.ceil(math.log10(max(known)))
        return cls(10.0**low, 10.0 ** max(high, low + 1))

    def place(self, value: float) -> float:
        """Where a value lies, 0 to 1; what lies outside sticks to the end."""
        inside = min(max(value, self.low), self.high)
        return math.log10(inside / self.low) / math.log10(self.high / self.low)

    def ticks(self) -> list[float]:
        """The powers of ten on the axis."""
        low, high = round(math.log10(self.low)), round(math.log10(self.high))
        return [10.0**power for power in range(low, high + 1)]


def bars(title: str, rows: Sequence[Bar]) -> Markup:
    """Horizontal bars from zero, longest full width."""
    longest = max((row.value for row in rows), default=0) or 1
    parts = []
    for place, row in enumerate(rows):
        y = place * ROW
        width = max(2.0, PLOT * row.value / longest)
        parts.append(_label(row.label, y))
        parts.append(
            Markup('<rect class="s-{}" x="{}" y="{}" width="{:.1f}" height="14" rx="3"/>').format(
                row.series, LABEL, y + 6, width
            )
        )
        parts.append(_value(row.text, LABEL + width + 8, y))
    return _svg(title, parts, len(rows) * ROW)


def spans(title: str, rows: Sequence[Span], unit: str) -> Markup:
    """Lines from low to high on a logarithmic axis, a dot at each end."""
    limits = [row.limit for row in rows if row.limit is not None]
    scale = Scale.around([value for row in rows for value in (row.low, row.high)] + limits)
    parts = _grid(scale, len(rows), lambda tick: f"{tick:g} {unit}")
    for place, row in enumerate(rows):
        y = place * ROW + 13
        left, right = (LABEL + PLOT * scale.place(v) for v in (row.low, row.high))
        parts.append(_label(row.label, place * ROW))
        parts.append(SPAN.format(row.series, left, right, y))
        if row.limit is not None:
            x = LABEL + PLOT * scale.place(row.limit)
            parts.append(LIMIT.format(x, y - 9, y + 9))
        parts.append(_value(row.text, LABEL + PLOT + 12, place * ROW))
    return _svg(title, parts, len(rows) * ROW + AXIS)


def nearness(title: str, rows: Sequence[Bar]) -> Markup:
    """Dots for values just below one: each power of ten nearer to one is a step to the right."""
    scale = Scale(1e-7, 1.0)
    parts = _grid(scale, len(rows), _nines, mirrored=True)
    for place, row in enumerate(rows):
        x = LABEL + PLOT * (1 - scale.place(1 - row.value))
        y = place * ROW + 13
        parts.append(_label(row.label, place * ROW))
        parts.append(DOT.format(LABEL, x, y, row.series))
        parts.append(_value(row.text, LABEL + PLOT + 12, place * ROW))
    return _svg(title, parts, len(rows) * ROW + AXIS)


def _nines(tick: float) -> str:
    if tick >= 1:
        return "0"
    digits = max(1, round(-math.log10(tick)))
    return f"{1 - tick:.{digits}f}" if digits < MANY else f"{digits} nines"


def _grid(
    scale: Scale, rows: int, text: Callable[[float], str], *, mirrored: bool = False
) -> list[Markup]:
    parts = []
    foot = rows * ROW
    for tick in scale.ticks():
        share = scale.place(tick)
        x = LABEL + PLOT * (1 - share if mirrored else share)
        parts.append(TICK.format(x, foot + 2, foot + 18, text(tick)))
    return parts


def _label(text: str, y: float) -> Markup:
    return Markup('<text class="label" x="{}" y="{}">{}</text>').format(LABEL - 12, y + 17, text)


def _value(text: str, x: float, y: float) -> Markup:
    return Markup('<text class="value" x="{:.1f}" y="{}">{}</text>').format(x, y + 17, text)


def _svg(title: str, parts: Sequence[Markup], height: float) -> Markup:
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        WIDTH, height, escape(title)
    )
    return head + Markup("").join(parts) + Markup("</svg>")
