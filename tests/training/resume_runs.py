"""Training runs in processes of their own, for the kill campaign: started, killed, started again, compared."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ratchet.components.graders.protocol import Grade
from ratchet.components.interruption import Interruption
from ratchet.components.policy.adapters import Reference
from ratchet.components.policy.loading import Policy
from ratchet.components.recipe import Train
from ratchet.components.storage.files import read_json
from ratchet.components.training.actor import Actor
from ratchet.components.training.events import StepMetrics
from ratchet.components.training.loop import Trainer
from ratchet.components.training.sentinel import DevResult, dev_result
from ratchet.components.training.setting import EarlyEnd, RewardedPrompts, Setting, Storage
from tests.tiny_models import tiny_policy

ROWS = [{"id": f"{i:x}", "prompt": f"{i} apples", "answer": str(i)} for i in range(8)]
STEPS = 5
SHORT: dict[str, Any] = {
    **{"steps": STEPS, "prompts": 2, "k": 4, "lr": 3e-3, "evaluate_every": 2, "epochs": 2, "keep_checkpoints": 2},
    "critic": {"warmup_steps": 1},
    "sentinel": {"looks": [], "gap": 1e6},
}
ADAPTIVE: dict[str, Any] = {"kl": "reward", "kl_coefficient": 0.1, "kl_target": 0.5, "kl_horizon": 100}
VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": {**SHORT, "algorithm": "grpo"},
    "ppo": {**SHORT, **ADAPTIVE, "algorithm": "ppo"},
    "ppo, likelihood": {
        **SHORT,
        **ADAPTIVE,
        "algorithm": "ppo",
        "critic": {"sees": "likelihood", "minibatches": 2, "warmup_steps": 1},
    },
    "ppo, shared trunk": {**SHORT, **ADAPTIVE, "algorithm": "ppo", "critic": {"trunk": "shared", "warmup_steps": 1}},
    "grpo, lora": {**SHORT, "algorithm": "grpo", "lora": {"rank": 4}},
    "ppo, lora": {**SHORT, **ADAPTIVE, "algorithm": "ppo", "lora": {"rank": 4}},
    "dapo": {**SHORT, "algorithm": "dapo", "sampling": {"refills": 2, "top_p": 0.9}},
}


def digits(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
    """1 where a completion holds a digit: zero-variance groups are common."""
    return [Grade(float(any(c in "0123456789" for c in text)), {}) for text in completions]


def weight_score(policy: Policy) -> dict[str, float]:
    """Any figure in (0, 1) that depends on nothing but the weights."""
    return {"eval_sampled_accuracy": float(sum(p.detach().double().sum() for p in policy.model.parameters()).sigmoid())}


def dev(policy: Policy) -> DevResult:
    """Items whose gold and proxy depend on the weights, one up where the other is down: the sentinel has much to count."""
    score = weight_score(policy)["eval_sampled_accuracy"]
    items = [score * 1e3 % (item + 2) for item in range(4)]
    return dev_result({"eval_sampled_accuracy": score}, gold=items, proxy=[-value for value in items])


def train(variant: str, root: Path, kill_at: str | None = None) -> None:
    """Train to the end, or until killed; the numbers of the steps taken are appended to ``steps.log``."""
    torch.set_num_threads(1)
    if kill_at is not None:
        os.environ["RATCHET_KILL_AT"] = kill_at
    recipe = Train(**VARIANTS[variant])
    actor = Actor(tiny_policy(), recipe, 7)
    reference = (actor.reference() or Reference(tiny_policy())) if recipe.needs_reference else None
    with Interruption() as interruption:
        early_end = EarlyEnd(lambda: interruption.requested)
        setting = Setting(recipe, 7, RewardedPrompts(ROWS, 6, digits), dev, Storage(root, variant), early_end)
        for event in Trainer(actor, reference, setting).run():
            if isinstance(event, StepMetrics) and "step_time" in event.values:
                with open(root / "steps.log", "a", encoding="utf-8") as log:
                    log.write(f"{event.step}\n")


def outcome(root: Path) -> dict[str, Any]:
    """Digests of the last checkpoint's files: weights and moments of every module, and the JSON state."""
    return dict(read_json(root / f"step_{STEPS:06d}" / "manifest.json")["files"])


def figures(root: Path) -> list[Any]:
    """All figures of the run, without what a clock or the system measured."""
    rows = [row for file in sorted((root / "metrics").glob("*.json")) for row in json.loads(file.read_text())]
    measured = ("time/", "step_time", "tokens_per_second", "memory")
    return [[step, {k: v for k, v in values.items() if not k.startswith(measured)}] for step, values in rows]


def steps_taken(root: Path) -> list[int]:
    """Numbers of the steps taken, over all processes, in order."""
    return [int(line) for line in (root / "steps.log").read_text().split()]
