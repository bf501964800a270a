"""From a recipe's reward section to a reward function."""

import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from components.errors import RecipeError
from components.recipe import Reward
from components.rewards.model import RewardModel
from components.rewards.protocol import RewardFunction, Score, checked
from components.rewards.verifier import verify


def build_reward(settings: Reward, model_path: Path | None, device: torch.device) -> RewardFunction:
    """The reward function of a recipe.

    Args:
        model_path: directory of the trained reward model, where the kind needs one.
    """
    if settings.kind == "verifier":
        return verify
    if settings.kind == "custom":
        assert settings.function is not None
        return import_reward(settings.function)
    assert model_path is not None
    reward_model = RewardModel.load(model_path, device)
    if settings.kind == "model":
        return reward_model
    return Mix(reward_model, settings.verifier_weight, settings.model_weight)


class Mix:
    """Weighted sum of the verifier and the reward model's score, squashed into (0, 1) by a sigmoid."""

    def __init__(self, model: RewardFunction, verifier_weight: float, model_weight: float) -> None:
        self.model, self.verifier_weight, self.model_weight = model, verifier_weight, model_weight

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Score]:
        verified = checked(verify(prompts, completions, rows), len(prompts), "the verifier")
        modelled = checked(self.model(prompts, completions, rows), len(prompts), "the reward model")
        return [self._add(v, m) for v, m in zip(verified, modelled, strict=True)]

    def _add(self, verified: Score, modelled: Score) -> Score:
        if verified.total is None or modelled.total is None:
            return Score(None, {})
        squashed = 1 / (1 + math.exp(-max(-50.0, min(50.0, modelled.total))))
        total = self.verifier_weight * verified.total + self.model_weight * squashed
        return Score(total, {"verifier": verified.total, "model": modelled.total})


def import_reward(path: str) -> RewardFunction:
    """A user's own function, named ``module:function``.

    Raises:
        RecipeError: if it cannot be imported.
    """
    module, _, name = path.partition(":")
    try:
        function: RewardFunction = getattr(importlib.import_module(module), name)
    except Exception as error:  # foreign code may raise anything
        raise RecipeError(f"reward.function {path!r} cannot be imported: {error}. Write module:function.") from error
    if not callable(function):
        raise RecipeError(f"reward.function {path!r} is not a function. Write module:function.")
    return function
