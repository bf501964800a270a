"""The first picture of a report: one measure before and after, with intervals, and the gain beside what was asked of it.

Inline SVG in the colours of the page, so that it is read in the dark and printed; no scripts, only numbers and escaped labels.
"""

from dataclasses import dataclass

from markupsafe import Markup

from ratchet.components.statistics.intervals import Interval

WIDTH, LEFT, RIGHT, STEP = 640, 110, 530, 34


@dataclass(frozen=True)
class Effect:
    """A measure of two models on the same items, with 95% intervals."""

    measure: str  # in words
    where: str  # on which items, in words
    before: Interval
    after: Interval
    share: bool  # lies in [0, 1]
    gain: Interval | None = None  # paired; None if only the two intervals are known
    asked: float = 0.0  # the gain must be above it


def picture(effect: Effect) -> Markup:
    """Two bars with whiskers; below them the gain with its whisker, and a line at what was asked."""
    top = 1.0 if effect.share else max(effect.before.high, effect.after.high, 1e-9)
    drawn = _bar(0, "before", "old", effect.before, top) + _bar(STEP, "after", "new", effect.after, top)
    height = 2 * STEP
    if effect.gain is not None:
        drawn += _gain(height + 14, effect.gain, effect.asked)
        height += STEP + 32
    name = f"{effect.measure}, {effect.where}: {effect.before.value:.3f} before, {effect.after.value:.3f} after"
    return Markup('<svg class="effect" role="img" aria-label="{}" viewBox="0 0 {} {}" font-size="13">{}</svg>').format(
        name, WIDTH, height, drawn
    )


def _bar(y: int, label: str, style: str, figure: Interval, top: float) -> Markup:
    bar = Markup('<rect class="{}" x="{}" y="{}" width="{:.1f}" height="18"/>').format(
        style, LEFT, y + 7, max(_place(figure.value, 0.0, top) - LEFT, 1.0)
    )
    said = _text(LEFT - 10, y + 20, label, "end") + _text(RIGHT + 14, y + 20, f"{figure.value:.3f}")
    return bar + _whisker(y + 16, figure, 0.0, top) + said


def _gain(y: int, gain: Interval, asked: float) -> Markup:
    """On a scale that has 0, what was asked and the whole interval."""
    low, high = min(gain.low, asked, 0.0), max(gain.high, asked, 0.0)
    margin = 0.08 * (high - low) or 0.01
    low, high = low - margin, high + margin
    middle, zero, line = y + 16, _place(0.0, low, high), _place(asked, low, high)
    return (
        _line("axis", (LEFT, RIGHT), (middle, middle))
        + _line("axis", (zero, zero), (y + 10, y + 22))
        + _line("asked", (line, line), (y + 2, y + 32))
        + _whisker(middle, gain, low, high)
        + Markup('<circle cx="{:.1f}" cy="{}" r="5"/>').format(_place(gain.value, low, high), middle)
        + _text(line, y + 46, f"must exceed {asked:g}" if asked else "no gain (0)", "middle")
        + _text(LEFT - 10, y + 20, "gain", "end")
        + _text(RIGHT + 14, y + 20, f"{gain.value:+.3f}")
    )


def _whisker(y: int, figure: Interval, low: float, high: float) -> Markup:
    left, right = (_place(value, low, high) for value in (figure.low, figure.high))
    caps = Markup().join(_line("whisker", (end, end), (y - 5, y + 5)) for end in (left, right))
    return _line("whisker", (left, right), (y, y)) + caps


def _line(style: str, x: tuple[float, float], y: tuple[float, float]) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(style, *x, *y)


def _text(x: float, y: int, said: str, anchor: str = "start") -> Markup:
    return Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(x, y, anchor, said)


def _place(value: float, low: float, high: float) -> float:
    return LEFT + (RIGHT - LEFT) * (min(max(value, low), high) - low) / (high - low)
