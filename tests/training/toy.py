"""A toy task for the whole loop: a tiny random policy is rewarded for writing digits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import torch

from ratchet.components.graders.protocol import Grade
from ratchet.components.policy.adapters import Reference
from ratchet.components.policy.loading import Policy
from ratchet.components.recipe import Sentinel, Train
from ratchet.components.training.actor import Actor
from ratchet.components.training.events import StepMetrics
from ratchet.components.training.loop import Trainer
from ratchet.components.training.sentinel import DevResult
from ratchet.components.training.setting import EarlyEnd, RewardedPrompts, Setting, Storage
from tests.tiny_models import moments, tiny_policy, weights

ROWS = [{"id": f"{i:x}", "prompt": f"{i} apples", "answer": str(i)} for i in range(8)]


# A tiny random policy trips over most limits.
OFF: dict[str, Any] = {
    "looks": [],
    **{name: None for name, field in Sentinel.model_fields.items() if type(None) in get_args(field.annotation)},
}


def short(**values: Any) -> Train:
    """A recipe of four steps, evaluated every second one."""
    few = {
        "steps": 4,
        "prompts": 3,
        "k": 4,
        "lr": 3e-3,
        "evaluate_every": 2,
        "epochs": 2,
        "keep_checkpoints": 2,
        "sentinel": OFF,
    }
    return Train(**{**few, **values})


def digits(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
    """The share of a completion's characters that are ASCII digits."""
    shares = [sum(c in "0123456789" for c in text) / max(1, len(text)) for text in completions]
    return [Grade(share, {"digits": share}) for share in shares]


def weight_score(policy: Policy) -> Mapping[str, float]:
    """Any figure in (0, 1) that depends on nothing but the weights."""
    return {"eval_sampled_accuracy": float(sum(p.detach().double().sum() for p in policy.model.parameters()).sigmoid())}


def setting(
    checkpoints: Path,
    train: Train | None = None,
    evaluate: Callable[[Policy], Mapping[str, float]] = weight_score,
    **values: Any,
) -> Setting:
    """The toy task; values are of any part of a setting."""
    given = {"seed": 7, "rows": ROWS, "max_new_tokens": 6, "reward": digits, "checkpoints": checkpoints, **values}

    def part(kind: Any) -> Any:
        return kind(**{field.name: given.pop(field.name) for field in fields(kind) if field.name in given})

    return Setting(
        train=train or short(),
        task=part(RewardedPrompts),
        evaluate=lambda policy: DevResult(evaluate(policy)),
        storage=part(Storage),
        early_end=part(EarlyEnd),
        **given,
    )


def build(given: Setting) -> Trainer:
    """A trainer of a new tiny policy."""
    actor = Actor(tiny_policy(), given.train, given.seed)
    reference = actor.reference() or Reference(tiny_policy())
    return Trainer(actor, reference if given.train.needs_reference else None, given)


def finish(trainer: Trainer) -> list[StepMetrics]:
    """Train to the end; all figures."""
    return [event for event in trainer.run() if isinstance(event, StepMetrics)]


def steps_of(figures: Sequence[StepMetrics]) -> list[Mapping[str, float]]:
    """The figures of training steps, without those of evaluations."""
    return [metrics.values for metrics in figures if "reward" in metrics.values]


def policy_weights(trainer: Trainer) -> list[torch.Tensor]:
    return weights(trainer.actor.policy.model)


def everything(trainer: Trainer) -> list[torch.Tensor]:
    """Weights and moments of every module."""
    return [t for module, optimizer in trainer.modules.values() for t in [*weights(module), *moments(optimizer)]]
