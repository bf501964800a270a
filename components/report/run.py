"""The report of a run: one HTML file that needs no network, with everything untrusted escaped."""

from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.components.recipe import headline
from ratchet.components.records import Arm, Decoding, rows_name
from ratchet.components.report.theme import BLUE, FILTER, RED, page, svg
from ratchet.components.report.training_curves import Points, curves

GOLD, PROXY = "eval_sampled_accuracy", "eval_proxy"
PANELS = {
    "reward": "reward",
    GOLD: "gold on dev, sampled",
    "entropy": "entropy (nats per token)",
    "completions/mean_length": "mean length (tokens)",
    "eval_kl": "KL to the start (nats per completion)",
    "explained_variance": "explained variance of the critic",
    "accuracy": "gold on training prompts",
    "train_dev_gap": "gold, train minus dev",
    "kl": "KL to the start (nats per token)",
    "clip_ratio/region_mean": "clipped share of tokens",
    "grad_norm": "gradient norm",
    "frac_reward_zero_std": "share of zero-variance groups",
}

SHOWN_LABELS = 20  # a larger confusion matrix is left to confusion.json

LABELS = {
    "gold": "mean score of the gold",
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "mcc": "Matthews' correlation",
    "balanced_accuracy": "balanced accuracy",
    "chrf": "chrF of all texts together (0 to 1)",
    "accuracy_lenient": "accuracy, lenient extractor",
    "format_rate": "format rate",
    "length": "mean length (tokens)",
    "kl": "KL to the starting policy (nats per completion)",
    "kl_incumbent": "KL to the incumbent (nats per completion)",
    "diversity": "diversity (distinct-2)",
}


def interval_text(figure: Mapping[str, Any] | None) -> str:
    """``0.912 (0.880 to 0.936)``; a dash if there is no figure, the value alone if there is no interval."""
    if figure is None or figure["value"] is None:
        return "-"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def dev_rows(summary: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Rows before and after of an evaluation's summary: sampled and greedy accuracy first, then every other measure."""
    sampled = dict.fromkeys([*LABELS, *summary[rows_name(Arm.CHALLENGER, Decoding.SAMPLED)]])
    first = headline(summary[rows_name(Arm.CHALLENGER, Decoding.SAMPLED)])
    wanted = [(first, decoding) for decoding in Decoding]
    wanted += [(name, Decoding.SAMPLED) for name in sampled if name != first]
    rows = []
    for figure, decoding in wanted:
        places = [summary[rows_name(arm, decoding)] for arm in (Arm.INCUMBENT, Arm.CHALLENGER)]
        # An arm without a score between 0 and 1 has the gold as accuracy alone.
        before, after = [_gold(place) for place in places] if figure == first else [place.get(figure) for place in places]
        label = f"{decoding} {LABELS[figure]}" if figure == first else LABELS.get(figure, figure.replace("/", ", part "))
        if before is not None or after is not None:
            rows.append({"label": label, "before": interval_text(before), "after": interval_text(after)})
    return rows


def place_rows(details: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[dict[str, str]]:
    """Rows before and after of each slice and benchmark: sampled accuracy, with the number of items."""
    rows = []
    for place, summary in details.items():
        before, after = (_gold(summary[rows_name(arm, Decoding.SAMPLED)]) for arm in (Arm.INCUMBENT, Arm.CHALLENGER))
        label = f"{place} ({after['n']} answers)"
        rows.append({"label": label, "before": interval_text(before), "after": interval_text(after)})
    return rows


def confusion_tables(confusion: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per arm, sampled: ``labels`` and ``rows`` of a reference's label, its counts by answer and its recall."""
    tables = []
    for arm, when in ((Arm.INCUMBENT, "before"), (Arm.CHALLENGER, "after")):
        matrix = confusion.get(rows_name(arm, Decoding.SAMPLED))
        if matrix is not None and len(matrix["labels"]) <= SHOWN_LABELS:
            labelled = zip(matrix["labels"], matrix["counts"], strict=True)
            rows = [_row(number, label, counts) for number, (label, counts) in enumerate(labelled)]
            tables.append({"when": when, "labels": matrix["labels"], "rows": rows})
    return tables


def _row(number: int, label: str, counts: Sequence[int]) -> dict[str, Any]:
    recall = f"{counts[number] / sum(counts):.3f}" if sum(counts) else "-"
    return {"label": label, "counts": [(count, place == number) for place, count in enumerate(counts)], "recall": recall}


def _gold(figures: Mapping[str, Any]) -> Any:
    return figures[headline(figures)]


def training_plot(points: Points) -> bytes | None:
    """Small multiples of the training metrics as SVG; None without points."""
    from matplotlib.figure import Figure

    series = {name: [(step, values[name]) for step, values in points if name in values] for name in PANELS}
    present = [name for name in PANELS if len(series[name]) > 1]
    proxy = [(step, values[PROXY]) for step, values in points if PROXY in values]
    if not present:
        return None
    figure = Figure(figsize=(9, 2.4 * ((len(present) + 2) // 3)), layout="constrained")
    for number, name in enumerate(present, 1):
        axes = figure.add_subplot((len(present) + 2) // 3, 3, number)
        axes.plot(*zip(*series[name], strict=True), color=BLUE, linewidth=1.2)
        if name == GOLD and len(proxy) > 1:
            _beside(axes, proxy)
        axes.set_title(PANELS[name], fontsize=9)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
    return svg(figure)


def _beside(axes: Any, proxy: Sequence[tuple[int, float]]) -> None:
    """The proxy on dev in the panel of gold, on its own scale."""
    other = axes.twinx()
    other.plot(*zip(*proxy, strict=True), color=RED, linewidth=1.2, linestyle="--", label="training reward (proxy), right")
    other.tick_params(labelsize=7)
    other.legend(fontsize=6, loc="lower right")


def render(values: Mapping[str, Any], points: Points) -> str:
    """The report's HTML. ``values`` has the names that the template uses; a missing one is an error."""
    drawn = curves(points, PANELS, (PROXY, GOLD), values["chosen_step"])
    return page("run.html.j2", FILTER, **values, curves=drawn)
