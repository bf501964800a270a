"""Curves with bands as SVG: a panel per figure, or all as one picture. Colours are attributes: a page allows no other style.

No scripts, only numbers and escaped labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 340, 220
LEFT, RIGHT, TOP, FOOT = 46, 8, 26, 36
LINES = (("#3f74c9", "none"), ("#c9741a", "6 3"))  # colour, seen on white and on black, and dashes
GRID = Markup('<line x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}" stroke="#9aa0a6" stroke-opacity="0.4"/>')
SCHEME = Markup("svg{color:#1c1e21}.paper{fill:#fff}@media (prefers-color-scheme:dark){svg{color:#e3e5e8}.paper{fill:#16181c}}")


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
    return Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}" font-size="11" fill="currentColor">{}</svg>').format(
        f"{panel.title} over {panel.across}: {' and '.join(names)}", WIDTH, HEIGHT, _content(panel)
    )


def legend(names: Sequence[str]) -> Markup:
    """Which line is whose, one below the other."""
    rows = Markup().join(_named(side, name, 0, 12 + 18 * side) for side, name in enumerate(names))
    return Markup('<svg viewBox="0 0 {} {}" font-size="12" fill="currentColor">{}</svg>').format(WIDTH, 18 * len(names), rows)


def picture(panels: Sequence[Panel], names: Sequence[str]) -> Markup:
    """All panels, two side by side, with a key of the lines: a file that stands alone."""
    rows = math.ceil(len(panels) / 2)
    width, height = 2 * WIDTH, rows * HEIGHT + 24
    keys = Markup().join(_named(side, name, LEFT + side * WIDTH, 17) for side, name in enumerate(names))
    placed = Markup().join(
        Markup('<g transform="translate({} {})">{}</g>').format(place % 2 * WIDTH, 24 + place // 2 * HEIGHT, _content(panel))
        for place, panel in enumerate(panels)
    )
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{0}" viewBox="0 0 {1} {2}" width="{1}" height="{2}" '
        'font-family="system-ui, sans-serif" font-size="11" fill="currentColor"><style>{3}</style>'
        '<rect class="paper" width="{1}" height="{2}"/>{4}{5}</svg>'
    ).format(" and ".join(names), width, height, SCHEME, keys, placed)


def _content(panel: Panel) -> Markup:
    points = [point for line in panel.lines for point in line]
    across = Scale(0.0, max((p.x for p in points), default=0.0) or 1.0, LEFT, WIDTH - RIGHT)
    ticks = nice_ticks(min((p.low for p in points), default=0.0), max((p.high for p in points), default=1.0))
    up = Scale(ticks[0], ticks[-1], HEIGHT - FOOT, TOP)
    content = Markup('<text font-weight="600" x="{}" y="15">{}</text>').format(LEFT, panel.title)
    for tick in ticks:
        content += GRID.format(LEFT, WIDTH - RIGHT, up.at(tick))
        content += _text(LEFT - 6, up.at(tick) + 4, f"{tick:,.4g}", "end")
    for tick in nice_ticks(0.0, across.high):
        if tick <= across.high:
            anchor = "end" if across.at(tick) > WIDTH - 30 else "middle"
            content += _text(across.at(tick), HEIGHT - FOOT + 14, f"{tick:,.6g}", anchor)
    content += _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, panel.across, "middle")
    for side, line in enumerate(panel.lines):
        content += _band(side, line, across, up)
    return content


def _band(side: int, line: Sequence[Point], across: Scale, up: Scale) -> Markup:
    """A line in its band; nothing without points."""
    if not line:
        return Markup()
    edge = [(p.x, p.high) for p in line] + [(p.x, p.low) for p in reversed(line)]
    band = Markup('<path d="{}Z" fill="{}" fill-opacity="0.2"/>').format(_path(edge, across, up), LINES[side][0])
    return band + _line(side, _path([(p.x, p.y) for p in line], across, up))


def _named(side: int, name: str, x: int, y: int) -> Markup:
    return _line(side, f"M{x} {y - 4}h28") + _text(x + 36, y, name, "start")


def _line(side: int, path: str) -> Markup:
    colour, dashes = LINES[side]
    drawn = Markup('<path d="{}" fill="none" stroke-width="2" stroke="{}" stroke-dasharray="{}"/>')
    return drawn.format(path, colour, dashes)


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
