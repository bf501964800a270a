"""What a comparison found, in one sentence. It is about the first figure, dev accuracy; the others are to look at."""

import math
from typing import TYPE_CHECKING

from ratchet.components.statistics.intervals import Interval
from ratchet.components.statistics.seeds import detectable_difference

if TYPE_CHECKING:
    from ratchet.components.compare.compare import Comparison
    from ratchet.components.compare.figures import Compared

LARGE = 999.5  # which three digits would show as 1e+03


def verdict(found: "Comparison") -> str:
    """Which side is better by how much, at what cost; or that no difference was seen, and how small a one could have been."""
    row = found.figure("accuracy")
    if row is None or row.difference is None:
        return "The gold could judge no item on both sides: nothing can be said. See the samples of `ratchet try`."
    first, second, apart = found.first.name, found.second.name, row.difference
    measured = f"{signed(apart.value)} ({signed(apart.low)} to {signed(apart.high)})"
    where = f"{found.task['measure']} on dev"
    if apart.low <= 0 <= apart.high:
        return f"No difference seen between {first} and {second}: {where} differs by {measured}. {_unseen(found, row)}"
    better, worse = (second, first) if apart.value > 0 else (first, second)
    size = f"{abs(apart.value):.3f} ({min(abs(apart.low), abs(apart.high)):.3f} to {max(abs(apart.low), abs(apart.high)):.3f})"
    return f"{better} is better than {worse} by {size} in {where}. {_price(found)}{_one_seed(found)}".strip()


def _unseen(found: "Comparison", row: "Compared") -> str:
    """How small a difference could have been missed: by so many seeds, or with one seed by so many items."""
    assert row.difference is not None
    assert row.groups is not None
    least = detectable_difference(row.difference.error, row.groups)
    items = row.difference.n
    grouped = f" in {row.groups:,} groups" if row.groups < items else ""
    who = counted(found.seeds) if found.seeds > 1 else f"{items:,} items{grouped}"
    return f"{who} cannot be relied on to see less than {least:.3f} (power 0.8). {_one_seed(found)}".strip()


def _price(found: "Comparison") -> str:
    """What the second side costs beside the first."""
    said = []
    for name, what in (("seconds", "the time"), ("memory", "the memory")):
        row = found.figure(name)
        if row is not None and row.ratio is not None:
            said.append(f"{row.ratio.value:.2f} times {what}")
    return f"{found.second.name} takes {' and '.join(said)} of {found.first.name}. " if said else ""


def _one_seed(found: "Comparison") -> str:
    if found.seeds > 1 or "seeds" not in found.task:  # registered versions are what they are
        return ""
    return "This is one seed: the interval is over the items of dev, and says nothing about other seeds (--seeds 3)."


def apart(row: "Compared") -> str:
    """The paired difference, or the ratio; empty where there is none."""
    return f"\u00d7 {shown(row.ratio)}" if row.ratio is not None else shown(row.difference, sign=True)


def counted(seeds: int) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{seeds} seed{'s' * (seeds != 1)}"


def signed(value: float) -> str:
    """With a sign, as a difference is read."""
    return "unknown" if not math.isfinite(value) else f"{value:+.3f}"


def shown(figure: Interval | None, sign: bool = False) -> str:
    """A figure with its interval, if it has one: ``0.912 (0.890 to 0.934)``. Where every seed gave the same, that alone."""
    if figure is None or math.isnan(figure.value):
        return ""
    value, low, high = (_number(one, sign) for one in figure[:3])
    bounded = math.isfinite(figure.low) and math.isfinite(figure.high) and figure.low < figure.high
    return f"{value} ({low} to {high})" if bounded else value


def _number(value: float, sign: bool) -> str:
    """Three digits; thousands whole."""
    if abs(value) >= LARGE:
        return f"{value:+,.0f}" if sign else f"{value:,.0f}"
    if sign and value:
        return f"{value:+.3g}" if abs(value) >= 0.001 else f"{value:+.4f}"
    return f"{value:.3g}" if abs(value) >= 10 else f"{value:.3f}"
