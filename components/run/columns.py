"""What MLflow shows of a run beside its report: its name, the few parameters that tell runs apart, and figures on one axis."""

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from ratchet.components.recipe import Recipe, headline
from ratchet.components.records import Arm, Decoding, rows_name
from ratchet.components.run.outcome import RunResult
from ratchet.components.stages.stage import Stage

TELLING = (  # parameters of the run; recipe.yaml has all, and each stage's child run its own
    *("seed", "device", "policy.start", "policy.model", "reward.kind", "gold.grader", "evaluation.samples"),
    *("train.algorithm", "train.steps", "train.prompts", "train.k", "train.lr", "train.kl", "train.kl_coefficient"),
)
SECTIONS: Mapping[str, set[str]] = {  # of the recipe, by the stage that follows them
    Stage.DATA: {"data"},
    Stage.GOLD: {"gold", "graders"},
    Stage.WARMUP: {"policy"},
    Stage.REWARD: {"reward"},
    Stage.TRAIN: {"train"},
    Stage.EVALUATE: {"evaluation"},
    Stage.GATE: {"gate"},
}
CURVES = {  # the name in training's figures -> on the run; alike for PPO and GRPO
    "reward": "curve/reward",
    "accuracy": "curve/accuracy",
    "eval_sampled_accuracy": "curve/dev",
    "eval_kl": "curve/dev_kl",
    "entropy": "curve/entropy",
    "completions/mean_length": "curve/length",
}
MOST = 200  # steps of a curve, so that a longer training takes no more requests

Points = list[tuple[int, dict[str, float]]]


def run_name(model: str, begun: str, result: RunResult | None = None) -> str:
    """``maths 2026-11-27 promoted v3``; of a run in progress, ``maths 2026-11-27``.

    Args:
        begun: ISO 8601.
    """
    ended = [] if result is None else [result.status.value.replace("_", " ")]
    version = [f"v{result.version}"] if result is not None and result.version else []
    return " ".join([model, begun[: len("2026-11-27")], *ended, *version])


def run_parameters(recipe: Recipe) -> dict[str, object]:
    """Those that tell runs apart."""
    every = flatten(recipe.model_dump(mode="json"))
    return {name: every[name] for name in TELLING if name in every}


def stage_parameters(recipe: Recipe, stage: str) -> dict[str, object]:
    """The part of the recipe that a stage follows."""
    return flatten(recipe.model_dump(mode="json", include=SECTIONS.get(stage, set())))


def before_and_after(summary: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The headline measure of sampled answers on dev: the incumbent's, the challenger's, and the difference."""
    arms = (summary[rows_name(arm, Decoding.SAMPLED)] for arm in (Arm.INCUMBENT, Arm.CHALLENGER))
    before, after = (arm[headline(arm)]["value"] for arm in arms)
    if before is None or after is None:
        return {}
    return {"dev/before": before, "dev/after": after, "dev/gain": after - before}


def curves(points: Points) -> Points:
    """Training by step on the run itself, in at most two requests; ``curve/samples`` counts the completions drawn so far."""
    drawn = accumulate(values.get("num_samples", 0.0) for _, values in points)
    named = [(step, _named(values) | {"curve/samples": total}) for (step, values), total in zip(points, drawn, strict=True)]
    dev = [point for point in named if CURVES["eval_sampled_accuracy"] in point[1]]
    others = [point for point in named if CURVES["eval_sampled_accuracy"] not in point[1]]
    return sorted([*_thinned(dev), *_thinned(others)], key=lambda point: point[0])


def _named(values: Mapping[str, float]) -> dict[str, float]:
    return {name: values[key] for key, name in CURVES.items() if math.isfinite(values.get(key, math.nan))}


def _thinned(points: Points) -> Points:
    """Evenly chosen, with the last."""
    every = math.ceil(len(points) / MOST) or 1
    return points[::-1][::every][::-1]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested sections as dotted keys."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return flat
