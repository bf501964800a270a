"""The figures of one training, and of two arms of trainings paired by seed. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ratchet.components.records import ItemResult
from ratchet.components.statistics.intervals import Floats, Interval, mean_interval
from ratchet.components.statistics.seeds import over_seeds, paired_difference, paired_ratio

Points = Sequence[tuple[int, Mapping[str, float]]]
DEV = {"accuracy": "eval_sampled_accuracy", "reward": "eval_proxy", "kl": "eval_kl"}  # of the curve, by their names in training


@dataclass(frozen=True)
class Measure:
    """A figure of a training: what it is in words, and whether more of it is better (None: neither)."""

    title: str
    better: Literal["more", "less"] | None
    ratio: bool = False  # compared as a ratio
    items: bool = False  # known by item of dev, so that one seed has an interval too
    of_reward: bool = False  # of the training reward: not comparable if the sides are paid differently


MEASURES = {
    "accuracy": Measure("accuracy on dev at the end", "more", items=True),
    "area": Measure("accuracy on dev, mean over training", "more"),
    "reward": Measure("reward on dev at the end", "more", items=True, of_reward=True),
    "kl": Measure("KL to the start, nats per answer", None, items=True),
    "length": Measure("tokens per answer", None, items=True),
    "drop": Measure("largest fall of dev accuracy from its best", "less"),
    "gradient": Measure("gradient norm, 95th percentile over median", "less"),
    "clipped": Measure("share of tokens that the loss clips", "less"),
    "silent": Measure("zero-variance groups", "less"),
    "stopped": Measure("ended early by the sentinel", "less"),
    "explained": Measure("variance that the critic explains, last fifth", "more"),
    "samples": Measure("completions drawn", None),
    "step_seconds": Measure("seconds per step", "less", ratio=True),
    "seconds": Measure("seconds of all steps", "less", ratio=True),
    "memory": Measure("peak memory of training, GiB", "less", ratio=True),
}


@dataclass(frozen=True)
class CurvePoint:
    """A dev evaluation during training, after so many completions and seconds of training steps."""

    step: int
    samples: float
    seconds: float
    accuracy: float
    reward: float | None
    kl: float | None


@dataclass(frozen=True)
class Item:
    """One item of dev, answered by the last policy; None was not measured."""

    id: str
    cluster: str | None
    accuracy: float | None  # the gold's score
    reward: float | None
    kl: float | None
    length: float | None


@dataclass(frozen=True)
class Measured:
    """One training (or one registered version, whose seed is 0): its figures, its curve and the items of dev."""

    seed: int
    figures: Mapping[str, float]
    items: Sequence[Item]
    curve: Sequence[CurvePoint] = ()
    reused: bool = False  # trained before: its seconds and memory are of then
    stop: str | None = None  # why the sentinel ended it

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Measured":
        items, curve = [Item(**one) for one in values["items"]], [CurvePoint(**one) for one in values["curve"]]
        return cls(**{**values, "items": items, "curve": curve})


@dataclass(frozen=True)
class Compared:
    """A figure of both arms, and how far apart they are: second minus first, or as a ratio second over first.

    Attributes:
        groups: independent measurements behind the difference: seeds, or with one seed groups of items. None without one.
    """

    name: str
    first: Interval | None
    second: Interval | None
    difference: Interval | None = None
    ratio: Interval | None = None
    groups: int | None = None

    @property
    def measure(self) -> Measure:
        return MEASURES[self.name]


@dataclass(frozen=True)
class Arm:
    """One side's trainings, in the order of the seeds."""

    name: str
    described: str  # what it is, for people
    runs: Sequence[Measured] = field(default_factory=tuple)


def item_of(result: ItemResult) -> Item:
    """What a comparison keeps of an item's result."""
    length = None if result.length is None else float(result.length)
    return Item(result.id, result.cluster, result.score, result.rewards.get("reward"), result.kl, length)


def curve_of(points: Points) -> list[CurvePoint]:
    """The dev evaluations of a training, with what had been drawn and how long its steps had taken until then."""
    samples = seconds = 0.0
    curve = []
    for step, values in points:
        samples += values.get("num_samples", 0.0)
        seconds += values.get("step_time", 0.0)
        if DEV["accuracy"] in values:
            curve.append(CurvePoint(step, samples, seconds, *(values.get(name) for name in DEV.values())))  # type: ignore[arg-type]
    return curve


def training_figures(points: Points, curve: Sequence[CurvePoint], stopped: bool) -> dict[str, float]:
    """The figures of a training, from those of its steps and dev evaluations; one that does not exist is left out."""
    steps = [values for _, values in points if "step_time" in values]
    found = {
        "area": area(curve),
        "drop": largest_fall([point.accuracy for point in curve]),
        "gradient": spread([values["grad_norm"] for values in steps if "grad_norm" in values]),
        "clipped": _mean(steps, "clip_ratio/region_mean"),
        "silent": _mean(steps, "frac_reward_zero_std"),
        "stopped": float(stopped),
        "explained": _mean(steps[-math.ceil(len(steps) / 5) :], "explained_variance"),
        "samples": curve[-1].samples if curve else None,
        "step_seconds": _mean(steps, "step_time"),
        "seconds": curve[-1].seconds if curve else None,
        "memory": max((values["memory/peak_gib"] for values in steps if "memory/peak_gib" in values), default=None),
    }
    return {name: value for name, value in found.items() if value is not None}


def item_figures(items: Sequence[Item]) -> dict[str, float]:
    """Means over the items that have a figure."""
    columns = {name: [v for item in items if (v := getattr(item, name)) is not None] for name in _by_item()}
    return {name: float(np.mean(values)) for name, values in columns.items() if values}


def area(curve: Sequence[CurvePoint]) -> float | None:
    """The mean height of the accuracy over completions drawn, by trapezoids; None with fewer than two evaluations."""
    samples, accuracy = [point.samples for point in curve], [point.accuracy for point in curve]
    if len(curve) < 2 or samples[-1] <= samples[0]:
        return None
    return float(np.trapezoid(accuracy, samples) / (samples[-1] - samples[0]))


def largest_fall(values: Sequence[float]) -> float | None:
    """The largest fall from a running best: of 0.5, 0.9, 0.7, 0.95 it is 0.2. None without values."""
    return float(np.max(np.maximum.accumulate(values) - np.asarray(values))) if len(values) else None


def spread(values: Sequence[float]) -> float | None:
    """The 95th percentile over the median; None without values, or if the median is 0."""
    middle = float(np.median(values)) if len(values) else 0.0
    return float(np.percentile(values, 95)) / middle if middle > 0 else None


def _mean(steps: Sequence[Mapping[str, float]], name: str) -> float | None:
    values = [one[name] for one in steps if name in one]
    return float(np.mean(values)) if values else None


def _by_item() -> list[str]:
    return [name for name, measure in MEASURES.items() if measure.items]


def compared(first: Arm, second: Arm, same_reward: bool = True) -> list[Compared]:
    """Every figure that an arm has, in the order of MEASURES; paired where both have it for every seed.

    Args:
        same_reward: whether the two sides are paid by the same reward; otherwise their rewards are not set against each other.
    """
    rows = [_compared(name, first.runs, second.runs, same_reward) for name in MEASURES]
    return [row for row in rows if row.first is not None or row.second is not None]


def _compared(name: str, first: Sequence[Measured], second: Sequence[Measured], same_reward: bool) -> Compared:
    measure = MEASURES[name]
    if measure.items and len(first) == 1:
        found = _by_items(name, first[0], second[0])
        return found if same_reward or not measure.of_reward else replace(found, difference=None, groups=None)
    a, b = _column(name, first), _column(name, second)
    ours, theirs = (None if values is None else over_seeds(values) for values in (a, b))
    if a is None or b is None or (measure.of_reward and not same_reward):
        return Compared(name, ours, theirs)
    if measure.ratio:
        return Compared(name, ours, theirs, ratio=paired_ratio(a, b))
    return Compared(name, ours, theirs, paired_difference(a, b), groups=len(a))


def _column(name: str, runs: Sequence[Measured]) -> Floats | None:
    """A figure of every seed, [n]; None if one lacks it."""
    if not runs or any(name not in run.figures for run in runs):
        return None
    return np.array([run.figures[name] for run in runs], dtype=np.float64)


def _by_items(name: str, first: Measured, second: Measured) -> Compared:
    """Of one seed: each arm over its items, and the paired differences over the items that both have."""
    ours, theirs = ({item.id: item for item in run.items if getattr(item, name) is not None} for run in (first, second))
    both = [item for key, item in ours.items() if key in theirs]

    def over(items: Sequence[Item], value: Callable[[Item], float]) -> Interval | None:
        return mean_interval(np.array([value(item) for item in items]), [_group(item) for item in items]) if items else None

    left, right = (over(list(items.values()), lambda item: getattr(item, name)) for items in (ours, theirs))
    apart = over(both, lambda item: getattr(theirs[item.id], name) - getattr(item, name))
    return Compared(name, left, right, apart, groups=len({_group(item) for item in both}) if both else None)


def _group(item: Item) -> str:
    """What items that are not independent share."""
    return item.cluster or item.id
