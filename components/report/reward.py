"""The curves of a reward's validation as SVG images: reliability of the model, proxy and gold of best-of-n."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from ratchet.components.report.theme import BLUE, GREEN, GREY, RED, embedded, svg


class Plot(NamedTuple):
    """An image, base64-encoded for an HTML page, and what it shows."""

    title: str
    image: Markup


def reward_plots(curves: Mapping[str, Any]) -> list[Plot]:
    """An image for each of the report's curves."""
    return [Plot(title, embedded(_image(draw, curves[name]))) for name, (title, draw) in PANELS.items() if curves.get(name)]


def _image(draw: Any, points: Sequence[Mapping[str, float]]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 3), layout="constrained")
    axes = figure.subplots()
    draw(axes, points)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    return svg(figure, transparent=True)


def draw_reliability(axes: Any, bins: Sequence[Mapping[str, float]]) -> None:
    """Accuracy by stated confidence; on the diagonal confidence is a probability."""
    axes.plot([0.5, 1], [0.5, 1], color=GREY, linewidth=1)
    axes.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], marker="o", color=BLUE, linewidth=1.2)
    axes.set(xlabel="how sure it says it is", ylabel="how often it is right")


def draw_best_of_n(axes: Any, points: Sequence[Mapping[str, float]]) -> None:
    """Gold with its interval, and proxy, of the best of n by the reward."""
    sizes = [point["n"] for point in points]
    low, high = ([point[f"gold_{end}"] for point in points] for end in ("low", "high"))
    axes.fill_between(sizes, low, high, color=GREEN, alpha=0.15)
    axes.plot(sizes, [point["gold"] for point in points], marker="o", color=GREEN, label="gold", linewidth=1.2)
    axes.plot(sizes, [point["proxy"] for point in points], marker=".", color=RED, label="reward", linewidth=1.2)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, labels=[f"{size:g}" for size in sizes])
    axes.set(xlabel="answers to choose from", ylabel="mean")
    axes.legend(fontsize=8)


PANELS = {
    "reliability": (
        "How often the reward model is right, by how sure it says it is; on the line it is honest",
        draw_reliability,
    ),
    "best_of_n": ("Gold and reward of the best of n answers, when the reward chooses it", draw_best_of_n),
}
