"""The figures of training over its steps as small inline SVGs in the page's colours; only numbers and escaped labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 330, 130, 56, 284, 8, 112

Points = Sequence[tuple[int, Mapping[str, float]]]
Line = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Curve:
    """A figure over steps."""

    title: str
    drawn: Markup


def curves(points: Points, titles: Mapping[str, str], second: tuple[str, str], chosen: int | None) -> list[Curve]:
    """A curve per figure that has at least two points.

    Args:
        titles: by the figures' names, in order.
        second: a figure's name, and the one in whose picture it is drawn too, dashed, on a scale of its own at the right.
        chosen: the step of the checkpoint that was chosen.
    """
    lines = {name: line_of(points, name) for name in (*titles, second[0])}
    found = []
    for name, title in titles.items():
        beside = lines[second[0]] if name == second[1] else []
        if len(lines[name]) > 1:
            found.append(Curve(title, drawing(title, lines[name], beside if len(beside) > 1 else [], chosen)))
    return found


def line_of(points: Points, name: str) -> Line:
    """The steps that have a figure, with it."""
    return [(step, values[name]) for step, values in points if name in values]


def drawing(title: str, line: Line, beside: Line, chosen: int | None) -> Markup:
    """One line with its least and greatest value, and the first and last step."""
    steps = [step for step, _ in line]
    first, last = min(steps), max(steps)
    drawn = _edge(FOOT) + _edge(TOP) + _scale(line, LEFT - 5, "end")
    if chosen is not None and first <= chosen <= last:
        x = _across(chosen, first, last)
        drawn += Markup('<line class="chosen" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(x, TOP, FOOT)
    drawn += _path(line, first, last, "curve")
    if beside:
        drawn += _path(beside, first, last, "curve second") + _scale(beside, RIGHT + 5, "start")
    for step, anchor, x in ((first, "start", LEFT), (last, "end", RIGHT)):
        drawn += Markup('<text class="soft" x="{}" y="{}" text-anchor="{}">step {}</text>').format(x, FOOT + 15, anchor, step)
    said = f"{title}: {line[0][1]:.3g} at step {line[0][0]}, {line[-1][1]:.3g} at step {line[-1][0]}"
    return Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}" font-size="11">{}</svg>').format(
        said, WIDTH, HEIGHT, drawn
    )


def _path(line: Line, first: int, last: int, style: str) -> Markup:
    low, high = _range(line)
    places = " ".join(f"{_across(step, first, last):.1f},{_up(value, low, high):.1f}" for step, value in line)
    return Markup('<polyline class="{}" points="{}"/>').format(style, places)


def _scale(line: Line, x: int, anchor: str) -> Markup:
    low, high = _range(line)
    text = Markup('<text class="soft" x="{}" y="{}" text-anchor="{}">{:.3g}</text>')
    return text.format(x, TOP + 8, anchor, high) + text.format(x, FOOT, anchor, low)


def _edge(y: int) -> Markup:
    return Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, RIGHT, y, y)


def _range(line: Line) -> tuple[float, float]:
    values = [value for _, value in line]
    return min(values), max(values)


def _across(step: int, first: int, last: int) -> float:
    return LEFT + (RIGHT - LEFT) * (min(max(step, first), last) - first) / max(last - first, 1)


def _up(value: float, low: float, high: float) -> float:
    """A flat line is in the middle."""
    return FOOT - (FOOT - TOP) * ((value - low) / (high - low) if high > low else 0.5)
