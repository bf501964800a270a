"""Curves with bands as SVG: a panel per figure, in the colours of the page, or as one picture that brings its own.

No scripts, only numbers and escaped labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 340, 220
LEFT, RIGHT, TOP, FOOT = 46, 8, 26, 36
STYLE = Markup(
    ".curves{fill:#1c1e21;font:11px system-ui,sans-serif}.curves .name{font-weight:600;font-size:12px}"
    ".curves .grid{stroke:#d8dbe0}.curves .paper{fill:#fff}"
    ".curves .line{fill:none;stroke-width:2}.curves .band{stroke:none;opacity:.2}"
    ".curves .line.first{stroke:#28508c}.curves .first:not(.line){fill:#28508c}"
    ".curves .line.second{stroke:#b35900;stroke-dasharray:6 3}.curves .second:not(.line){fill:#b35900}"
    "@media (prefers-color-scheme:dark){.curves{fill:#e3e5e8}.curves .grid{stroke:#353941}.curves .paper{fill:#16181c}"
    ".curves .line.first{stroke:#8ab4f8}.curves .first:not(.line){fill:#8ab4f8}"
    ".curves .line.second{stroke:#f5b461}.curves .second:not(.line){fill:#f5b461}}"
)
ROLES = ("first", "second")


@dataclass(frozen=True)
class Point:
    """A place of a line, and the band around it."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Panel:
    """One figure against another, a line per side: the first and the second."""

    title: str
    across: str  # what x is
    lines: Sequence[Sequence[Point]]


@dataclass(frozen=True)
class Scale:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)


def drawn(panel: Panel, names: Sequence[str]) -> Markup:
    """A panel as an SVG of its own."""
    return Markup('<svg class="curves" role="img" aria-label="{}" viewBox="0 0 {} {}">{}</svg>').format(
        f"{panel.title} over {panel.across}: {' and '.join(names)}", WIDTH, HEIGHT, _content(panel)
    )


def picture(panels: Sequence[Panel], names: Sequence[str]) -> Markup:
    """All panels, two side by side, with a key of the lines: a file that stands alone."""
    rows = math.ceil(len(panels) / 2)
    width, height = 2 * WIDTH, rows * HEIGHT + 24
    key = Markup().join(
        Markup('<path class="line {0}" d="M{1} 13h28"/><text x="{2}" y="17">{3}</text>').format(role, x, x + 36, name)
        for role, x, name in zip(ROLES, (LEFT, WIDTH + LEFT), names, strict=True)
    )
    placed = Markup().join(
        Markup('<g transform="translate({} {})">{}</g>').format(place % 2 * WIDTH, 24 + place // 2 * HEIGHT, _content(panel))
        for place, panel in enumerate(panels)
    )
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="curves" role="img" aria-label="{0}" viewBox="0 0 {1} {2}" width="{1}" '
        'height="{2}"><style>{3}</style><rect class="paper" width="{1}" height="{2}"/>{4}{5}</svg>'
    ).format(" and ".join(names), width, height, STYLE, key, placed)


def _content(panel: Panel) -> Markup:
    points = [point for line in panel.lines for point in line]
    across = Scale(0.0, max((p.x for p in points), default=0.0) or 1.0, LEFT, WIDTH - RIGHT)
    ticks = nice_ticks(min((p.low for p in points), default=0.0), max((p.high for p in points), default=1.0))
    up = Scale(ticks[0], ticks[-1], HEIGHT - FOOT, TOP)
    content = Markup('<text class="name" x="{}" y="15">{}</text>').format(LEFT, panel.title)
    for tick in ticks:
        grid = Markup('<line class="grid" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>')
        content += grid.format(LEFT, WIDTH - RIGHT, up.at(tick))
        content += _text(LEFT - 6, up.at(tick) + 4, f"{tick:,.4g}", "end")
    for tick in nice_ticks(0.0, across.high):
        if tick <= across.high:
            anchor = "end" if across.at(tick) > WIDTH - 30 else "middle"
            content += _text(across.at(tick), HEIGHT - FOOT + 14, f"{tick:,.6g}", anchor)
    content += _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, panel.across, "middle")
    for role, line in zip(ROLES, panel.lines, strict=True):
        content += _band(role, line, across, up)
    return content


def _band(role: str, line: Sequence[Point], across: Scale, up: Scale) -> Markup:
    """A line in its band; nothing without points."""
    if not line:
        return Markup()
    edge = [(p.x, p.high) for p in line] + [(p.x, p.low) for p in reversed(line)]
    return Markup('<path class="band {}" d="{}Z"/><path class="line {}" d="{}"/>').format(
        role, _path(edge, across, up), role, _path([(p.x, p.y) for p in line], across, up)
    )


def _path(places: Sequence[tuple[float, float]], across: Scale, up: Scale) -> str:
    return "M" + "L".join(f"{across.at(x):.1f} {up.at(y):.1f}" for x, y in places)


def _text(x: float, y: float, said: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, said)


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers, the first at most ``low`` and the last at least ``high``: 0.58 and 0.91 give 0.5 to 1.0."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = power * next(factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]
