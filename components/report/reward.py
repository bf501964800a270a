"""The curves of a reward's validation as one SVG: reliability of the model, proxy and gold of best-of-n."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ratchet.components.report.theme import BLUE, GREEN, GREY, RED, embedded, svg


def reward_plot(curves: Mapping[str, Any]) -> Markup | None:
    """The curves of a report, base64-encoded for an HTML page; None if there are none."""
    panels = [(draw, curves[name]) for name, draw in PANELS.items() if curves.get(name)]
    if not panels:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(panels), 3.2), layout="constrained")
    for axes, (draw, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes, points)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
    return embedded(svg(figure))


def draw_reliability(axes: Any, bins: Sequence[Mapping[str, float]]) -> None:
    """Accuracy by stated confidence; on the diagonal confidence is a probability."""
    axes.plot([0.5, 1], [0.5, 1], color=GREY, linewidth=1)
    axes.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], marker="o", color=BLUE, linewidth=1.2)
    axes.set_title("reliability: accuracy by confidence", fontsize=9)


def draw_best_of_n(axes: Any, points: Sequence[Mapping[str, float]]) -> None:
    """Gold with its interval, and proxy, of the best of n by the reward."""
    sizes = [point["n"] for point in points]
    low, high = ([point[f"gold_{end}"] for point in points] for end in ("low", "high"))
    axes.fill_between(sizes, low, high, color=GREEN, alpha=0.15)
    axes.plot(sizes, [point["gold"] for point in points], marker="o", color=GREEN, label="gold", linewidth=1.2)
    axes.plot(sizes, [point["proxy"] for point in points], marker=".", color=RED, label="reward", linewidth=1.2)
    axes.set_xscale("log", base=2)
    axes.legend(fontsize=7)
    axes.set_title("best of n by the reward", fontsize=9)


PANELS = {"reliability": draw_reliability, "best_of_n": draw_best_of_n}
