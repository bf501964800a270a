"""The champion's line: its accuracy over the runs as steps, promotions marked, and between them the runs that were refused.

Inline SVG in the page's colours; only numbers and escaped labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 960, 310, 76, 944, 34, 270
CLEAR = 60  # between two labels of versions
LEAST = 0.1  # range of shares that is drawn, so that noise does not look like change


@dataclass(frozen=True)
class Entry:
    """A run as the page over all runs shows it."""

    run_id: str
    when: str
    status: str  # in words
    tone: Literal["good", "neutral", "bad"]
    said: str
    version: str | None
    dev: float | None  # the gold of its candidate on the development split; None if there was none
    report: str | None  # address


@dataclass(frozen=True)
class Reign:
    """A time as champion, since the run with a number (from 0), or between two runs if a person decided."""

    since: float
    version: str
    by: str  # gate, override, rollback
    dev: float | None
    sealed: float | None  # on the sealed fold that its promotion retired


@dataclass(frozen=True)
class Frame:
    """Where runs and values are drawn."""

    runs: int
    low: float
    high: float

    def x(self, number: float) -> float:
        return LEFT + (RIGHT - LEFT) * (number + 0.5) / self.runs

    def y(self, value: float) -> float:
        return FOOT - (FOOT - TOP) * (value - self.low) / (self.high - self.low)


def champions_line(entries: Sequence[Entry], reigns: Sequence[Reign]) -> Markup | None:
    """None if no candidate was measured yet.

    Args:
        entries: oldest first.
        reigns: likewise.
    """
    values = [value for entry in entries if (value := entry.dev) is not None]
    values += [value for reign in reigns for value in (reign.dev, reign.sealed) if value is not None]
    if not values:
        return None
    frame = _frame(len(entries), values)
    drawn = _grid(frame, all(0 <= value <= 1 for value in values)) + _promotions(frame, reigns) + _ends(entries)
    marks = [(entry.tone, _mark(frame, number, entry)) for number, entry in enumerate(entries)]
    drawn += Markup().join(mark for tone, mark in marks if tone != "good")
    for style in ("dev", "sealed"):
        drawn += _steps(frame, style, [(reign.since, getattr(reign, style)) for reign in reigns])
    drawn += Markup().join(mark for tone, mark in marks if tone == "good")
    said = f"Runs: {len(entries)}. Changes of the champion: {len(reigns)}."
    return Markup('<svg class="champions" role="img" aria-label="{}" viewBox="0 0 {} {}" font-size="13">{}</svg>').format(
        said, WIDTH, HEIGHT, drawn
    )


def _frame(runs: int, values: Sequence[float]) -> Frame:
    """All values with a margin; shares stay between 0 and 1."""
    low, high = min(values), max(values)
    margin = 0.1 * (high - low) or 0.5
    if low < 0 or high > 1:
        return Frame(runs, low - margin, high + margin)
    margin = max(0.1 * (high - low), (LEAST - (high - low)) / 2)
    return Frame(runs, max(low - margin, 0.0), min(high + margin, 1.0))


def _grid(frame: Frame, shares: bool) -> Markup:
    from matplotlib.ticker import MaxNLocator

    drawn = Markup()
    for value in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(frame.low, frame.high):
        if frame.low <= value <= frame.high:
            drawn += _line("grid", (LEFT, RIGHT), (frame.y(value), frame.y(value)))
            drawn += _text(LEFT - 8, frame.y(value) + 5, f"{100 * value:.3g}%" if shares else f"{value:.3g}", "end")
    return drawn


def _promotions(frame: Frame, reigns: Sequence[Reign]) -> Markup:
    """A dotted line each, with the version where there is room; the newest has its label always."""
    drawn, free = Markup(), float(RIGHT)
    for reign in reversed(reigns):
        x = frame.x(reign.since)
        drawn += _line("promotion", (x, x), (TOP, FOOT))
        if x <= free:
            drawn += _text(x, TOP - 8, f"v{reign.version}", "middle")
            free = x - CLEAR
    return drawn


def _steps(frame: Frame, style: str, values: Sequence[tuple[float, float | None]]) -> Markup:
    """From each change to the next, the last one to the end; nothing where a value is not known."""
    ends = [*(frame.x(since) for since, _ in values[1:]), float(RIGHT)]
    drawn, before = Markup(), None
    for (since, value), end in zip(values, ends, strict=False):  # without a champion there are no values
        if value is not None:
            x, y = frame.x(since), frame.y(value)
            places = [*([(x, before)] if before is not None else []), (x, y), (end, y)]
            points = " ".join(f"{one:.1f},{other:.1f}" for one, other in places)
            drawn += Markup('<polyline class="steps {}" points="{}"/>').format(style, points)
        before = None if value is None else frame.y(value)
    return drawn


def _mark(frame: Frame, number: int, entry: Entry) -> Markup:
    """A dot at what the run's candidate reached; a cross at the foot for a run that had none."""
    x, size = frame.x(number), 5 if frame.runs <= 120 else 3
    if entry.dev is not None:
        drawn = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="{}"/>').format(
            entry.tone, x, frame.y(entry.dev), size
        )
    else:
        drawn = _line("cross", (x - size, x + size), (FOOT - 2 * size, FOOT)) + _line(
            "cross", (x - size, x + size), (FOOT, FOOT - 2 * size)
        )
    return Markup("<g><title>{}: {}. {}</title>{}</g>").format(entry.when, entry.status, entry.said, drawn)


def _ends(entries: Sequence[Entry]) -> Markup:
    """The first and the last day, with the time of day if they are the same."""
    whens = [entries[0].when, entries[-1].when]
    first, last = (when[: 10 if whens[0][:10] != whens[1][:10] else 16] for when in whens)
    drawn = _text(LEFT, FOOT + 34, first, "start")
    return drawn if len(entries) == 1 else drawn + _text(RIGHT, FOOT + 34, last, "end")


def _line(style: str, x: tuple[float, float], y: tuple[float, float]) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(style, *x, *y)


def _text(x: float, y: float, said: str, anchor: str) -> Markup:
    return Markup('<text class="soft" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, said)
