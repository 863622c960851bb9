"""Charts as inline SVG: lines and areas over time, bars, histograms, a graph of boxes.

Every chart scales with its box; colours are classes, which the page's style sheet gives a value for light and dark.
Everything drawn can be read by hovering (``<title>``), and texts are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 420
HEIGHT = 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 24
COLOURS = 6
"""How many classes ``c0`` … the style sheet colours."""

Shown = Callable[[float], str]
"""How a value is written."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart: its name and a value a point."""

    name: str
    values: Sequence[float]


def line_chart(label: str, points: Sequence[str], series: Sequence[Series], shown: Shown) -> Markup:
    """Lines over evenly spaced ``points`` (named at both ends). A missing value is NaN and breaks the line."""
    plot = _Plot(max((v for each in series for v in each.values if not math.isnan(v)), default=0.0), shown)
    parts = [plot.axes(points)]
    for place, each in enumerate(series):
        for piece in _pieces(each.values):
            spots = [(plot.x(at, len(points)), plot.y(each.values[at])) for at in piece]
            if len(spots) == 1:
                (x, y) = spots[0]
                parts.append(f'<circle class="c{place % COLOURS} dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>')
            else:
                path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
                parts.append(f'<polyline class="c{place % COLOURS} line" points="{path}"/>')
    parts += _hover(points, series, shown, plot)
    return _svg(label, "".join(parts)) + legend([each.name for each in series])


def area_chart(label: str, points: Sequence[str], series: Sequence[Series], shown: Shown) -> Markup:
    """The series stacked upon one another over evenly spaced ``points``."""
    totals = [sum(each.values[at] for each in series) for at in range(len(points))]
    plot = _Plot(max(totals, default=0.0), shown)
    parts = [plot.axes(points)]
    below = [0.0] * len(points)
    for place, each in enumerate(series):
        above = [low + value for low, value in zip(below, each.values, strict=True)]
        upper = [f"{plot.x(at, len(points)):.1f},{plot.y(value):.1f}" for at, value in enumerate(above)]
        lower = [f"{plot.x(at, len(points)):.1f},{plot.y(value):.1f}" for at, value in enumerate(below)]
        parts.append(f'<polygon class="c{place % COLOURS} area" points="{" ".join(upper + lower[::-1])}"/>')
        below = above
    parts += _hover(points, series, shown, plot)
    return _svg(label, "".join(parts)) + legend([each.name for each in series])


def stacked_bars(label: str, points: Sequence[str], series: Sequence[Series], shown: Shown) -> Markup:
    """A bar at each of the evenly spaced ``points``, the series stacked in it."""
    totals = [sum(each.values[at] for each in series) for at in range(len(points))]
    plot = _Plot(max(totals, default=0.0), shown)
    parts = [plot.axes(points)]
    width = max((WIDTH - _LEFT - _RIGHT) / max(len(points), 1), 0.5)
    below = [0.0] * len(points)
    for place, each in enumerate(series):
        for at, value in enumerate(each.values):
            if value:
                top, bottom = plot.y(below[at] + value), plot.y(below[at])
                parts.append(
                    f'<rect class="c{place % COLOURS} bar" x="{_LEFT + at * width:.1f}" y="{top:.1f}"'
                    f' width="{max(width * 0.86, 0.5):.1f}" height="{max(bottom - top, 0.5):.1f}"/>'
                )
        below = [low + value for low, value in zip(below, each.values, strict=True)]
    parts += _hover(points, series, shown, plot)
    return _svg(label, "".join(parts)) + legend([each.name for each in series])


def histogram(label: str, bins: Mapping[int, int], number: int, ends: tuple[str, str]) -> Markup:
    """``number`` bins side by side, those without a value empty; ``ends``: where the first begins and the last ends."""
    height = 84
    most = max(bins.values(), default=1) or 1
    width = (WIDTH - 8) / number
    parts = []
    for place in range(number):
        rows = bins.get(place, 0)
        tall = max(rows / most * (height - 22), 1.5) if rows else 0.0
        parts.append(
            f'<rect class="c0 bar" x="{4 + place * width:.1f}" y="{height - 18 - tall:.1f}" width="{width * 0.9:.1f}"'
            f' height="{tall:.1f}"><title>{rows:,}</title></rect>'
        )
    parts.append(f'<line class="axis" x1="4" x2="{WIDTH - 4}" y1="{height - 18}" y2="{height - 18}"/>')
    parts.append(f'<text class="tick" x="4" y="{height - 4}">{escape(ends[0])}</text>')
    parts.append(f'<text class="tick end" x="{WIDTH - 4}" y="{height - 4}">{escape(ends[1])}</text>')
    return _svg(label, "".join(parts), height)


def legend(names: Sequence[str]) -> Markup:
    """What the colours mean; nothing for a single series."""
    if len(names) < 2:
        return Markup("")
    items = Markup("").join(
        Markup('<li><span class="key c{}"></span>{}</li>').format(place % COLOURS, name)
        for place, name in enumerate(names)
    )
    return Markup('<ul class="legend">{}</ul>').format(items)


class _Plot:
    """The area of a chart and its scale from zero to a round number above ``highest``."""

    def __init__(self, highest: float, shown: Shown) -> None:
        self._step = _round_step(highest)
        self._top = max(math.ceil(highest / self._step - 1e-9), 1) * self._step
        self._shown = shown

    def x(self, at: int, points: int) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (at / (points - 1) if points > 1 else 0.5)

    def y(self, value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - value / self._top)

    def axes(self, points: Sequence[str]) -> str:
        parts = []
        for number in range(round(self._top / self._step) + 1):
            value = number * self._step
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(
                f'<text class="tick end" x="{_LEFT - 5}" y="{y + 3.5:.1f}">{escape(self._shown(value))}</text>'
            )
        if points:
            parts.append(f'<text class="tick" x="{_LEFT}" y="{HEIGHT - 7}">{escape(points[0])}</text>')
            parts.append(f'<text class="tick end" x="{WIDTH - _RIGHT}" y="{HEIGHT - 7}">{escape(points[-1])}</text>')
        return "".join(parts)


def _round_step(highest: float) -> float:
    """The distance of about four grid lines: 1, 2 or 5 times a power of ten."""
    if highest <= 0 or not math.isfinite(highest):
        return 1.0
    rough = highest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough - 1e-12), 10 * power)


def _pieces(values: Sequence[float]) -> list[list[int]]:
    """Runs of places whose values are there."""
    found: list[list[int]] = [[]]
    for at, value in enumerate(values):
        if math.isnan(value):
            found.append([])
        else:
            found[-1].append(at)
    return [piece for piece in found if piece]


def _hover(points: Sequence[str], series: Sequence[Series], shown: Shown, plot: _Plot) -> list[str]:
    """An unseen strip over each point whose title says its values."""
    width = (WIDTH - _LEFT - _RIGHT) / max(len(points), 1)
    parts = []
    for at, point in enumerate(points):
        said = [f"{each.name}: {shown(each.values[at])}" for each in series if not math.isnan(each.values[at])]
        if said:
            title = escape("\n".join([point, *said]))
            parts.append(
                f'<rect class="hover" x="{_LEFT + at * width:.1f}" y="{_TOP}" width="{width:.1f}"'
                f' height="{HEIGHT - _TOP - _BOTTOM}"><title>{title}</title></rect>'
            )
    return parts


def _svg(label: str, content: str, height: int = HEIGHT) -> Markup:
    # The content was made here: numbers, and texts that were escaped.
    return Markup('<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {} {}">{}</svg>').format(
        label, WIDTH, height, Markup(content)
    )
