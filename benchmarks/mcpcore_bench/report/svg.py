"""Charts as SVG, without a library: horizontal bars and lines on linear or logarithmic scales."""

import math
from collections.abc import Sequence
from html import escape

from msgspec import Struct

WIDTH = 860
_COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#0b7285", "#6e7781", "#bf3989")
_FONT = 'font-family="sans-serif" font-size="12"'


class Bar(Struct, frozen=True):
    """A value with its spread."""

    label: str
    value: float
    low: float
    high: float
    colour: int = 0


class Line(Struct, frozen=True):
    """A labelled series of points."""

    label: str
    points: Sequence[tuple[float, float]]


def colour(number: int) -> str:
    """One of a few colours that can be told apart."""
    return _COLOURS[number % len(_COLOURS)]


def _whole(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">'
    )
    name = f"<title>{escape(title)}</title>"
    ground = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    heading = (
        f'<text x="16" y="24" font-family="sans-serif" font-size="15" '
        f'font-weight="bold">{escape(title)}</text>'
    )
    return "\n".join([head, name, ground, heading, *parts, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str = "start", fill: str = "#24292f") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" {_FONT} text-anchor="{anchor}" '
        f'fill="{fill}">{escape(text)}</text>'
    )


def _rule(x1: float, y1: float, x2: float, y2: float, stroke: str = "#d0d7de") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}"/>'


def short(value: float) -> str:
    """A number of few characters."""
    if value >= 1e6:
        return f"{value / 1e6:.3g} M"
    if value >= 1000:
        return f"{value / 1000:.3g} k"
    return f"{value:.3g}"


def bars(title: str, unit: str, values: Sequence[Bar]) -> str:
    """Horizontal bars; a thin line shows the spread of each."""
    left, top, step = 270, 44, 26
    most = max((bar.high for bar in values), default=1.0) or 1.0
    room = WIDTH - left - 90
    parts = []
    for index, bar in enumerate(values):
        y = top + index * step
        length = room * bar.value / most
        parts.append(_text(left - 8, y + 13, bar.label, "end"))
        parts.append(
            f'<rect x="{left}" y="{y}" width="{max(length, 1):.1f}" height="16" '
            f'fill="{colour(bar.colour)}"/>'
        )
        low, high = left + room * bar.low / most, left + room * bar.high / most
        parts.append(_rule(low, y + 8, high, y + 8, "#24292f"))
        parts.append(_text(max(left + length, high) + 6, y + 13, short(bar.value)))
    height = top + len(values) * step + 26
    parts.append(_text(left, height - 10, unit, fill="#57606a"))
    return _whole(title, WIDTH, height, parts)


class _Scale:
    """Maps values to a stretch of pixels."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool) -> None:
        self._log = log
        if log:
            low, high = max(low, 1e-9), max(high, 1e-9)
        if high <= low:
            high = low * 2 if low else 1.0
        self.low, self.high = low, high
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self._log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, 1e-9))
        return self._start + (value - low) / (high - low) * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Round values along it."""
        if self._log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            every = (10.0**power for power in range(first, last + 1))
            return [tick for tick in every if self.low <= tick <= self.high]
        step = 10 ** math.floor(math.log10(self.high - self.low))
        if (self.high - self.low) / step < 4:
            step /= 2
        count = int((self.high - self.low) / step)
        first = math.ceil(self.low / step) * step
        return [first + index * step for index in range(count + 1)]


def lines(
    title: str,
    across: str,
    up: str,
    series: Sequence[Line],
    *,
    log_x: bool = False,
    log_y: bool = False,
    names: Sequence[tuple[float, str]] = (),
) -> str:
    """Lines over a common scale; ``names``: ticks of the x axis that have names of their own."""
    left, top, height = 80, 44, 320
    right, bottom = WIDTH - 220, top + height
    points = [point for line in series for point in line.points]
    xs, ys = [x for x, _ in points] or [1.0], [y for _, y in points] or [1.0]
    x_scale = _Scale(min(xs), max(xs), left, right, log=log_x)
    y_scale = _Scale(min(ys) if log_y else 0.0, max(ys), bottom, top, log=log_y)
    parts = [_rule(left, bottom, right, bottom), _rule(left, top, left, bottom)]
    for tick in y_scale.ticks():
        y = y_scale(tick)
        parts += (_rule(left, y, right, y), _text(left - 6, y + 4, short(tick), "end"))
    ticks = names or [(tick, short(tick)) for tick in x_scale.ticks()]
    for tick, name in ((tick, name) for tick, name in ticks if x_scale.low <= tick <= x_scale.high):
        x = x_scale(tick)
        parts += (_rule(x, top, x, bottom), _text(x, bottom + 16, name, "middle"))
    for index, line in enumerate(series):
        path = " ".join(f"{x_scale(x):.1f},{y_scale(y):.1f}" for x, y in line.points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour(index)}" stroke-width="2"/>'
        )
        parts += (
            f'<circle cx="{x_scale(x):.1f}" cy="{y_scale(y):.1f}" r="3" fill="{colour(index)}"/>'
            for x, y in (line.points if len(line.points) < 9 else ())
        )
        parts.append(_text(right + 12, top + 14 + index * 18, line.label, fill=colour(index)))
    parts.append(_text((left + right) / 2, bottom + 34, across, "middle", "#57606a"))
    parts.append(_text(16, top - 4, up, fill="#57606a"))
    return _whole(title, WIDTH, bottom + 48, parts)
