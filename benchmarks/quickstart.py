"""What the benchmarks share: the quickstart's data, starting policy and reward, made once and kept in the store."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.home import Home
from components.pipeline.context import Context, StageResult
from components.pipeline.data import prepare_data, table
from components.pipeline.policy import starting_policy
from components.pipeline.reward import validated_reward
from components.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from components.policy.loading import Policy
    from components.training.loop import Trainer

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"


@dataclass(frozen=True)
class Quickstart:
    """The finished stages before training."""

    context: Context
    data: StageResult
    warmup: StageResult
    validated: StageResult

    @property
    def folder(self) -> Path:
        """Where benchmarks keep what they have measured."""
        return self.context.home.state / "benchmarks"

    @property
    def samples_a_step(self) -> int:
        train = self.context.recipe.train
        return train.prompts * train.group_size

    def recipe(self, *overrides: str) -> Recipe:
        """The quickstart with overrides."""
        return load_recipe(RECIPE, overrides)

    def rows(self, split: str) -> Sequence[dict[str, Any]]:
        return table(self.data, split)

    def policy(self) -> "Policy":
        """A fresh copy of the starting policy."""
        from components.policy.loading import load_policy, pick_device

        return load_policy(self.warmup.path / "model", pick_device("auto"))

    def reward(self, recipe: Recipe) -> Any:
        """The reward that the recipe trains against."""
        from components.policy.loading import pick_device
        from components.rewards.build import build_reward

        return build_reward(recipe.reward, self.validated.path / "model", pick_device("auto"))

    def evaluation(self, recipe: Recipe) -> Any:
        """Sampled accuracy of a policy on the first dev items, by the verifier."""
        from components.evaluation.evaluate import evaluate_items
        from components.evaluation.measures import summarise

        rows = self.rows("dev")[: recipe.evaluation.dev_items]

        def evaluate(policy: "Policy") -> Mapping[str, float]:
            limit, temperature = recipe.policy.max_new_tokens, recipe.evaluation.temperature
            found = evaluate_items(policy, rows, seed=7, purpose="dev", max_new_tokens=limit, temperature=temperature)
            return {"eval_sampled_accuracy": summarise(found)["accuracy"].value}

        return evaluate

    def trainer(self, recipe: Recipe, checkpoints: Path) -> "Trainer":
        """A training run of the recipe from the starting policy."""
        from components.policy.adapters import Reference
        from components.training.actor import Actor
        from components.training.loop import Setting, Trainer

        actor = Actor(self.policy(), recipe.train, recipe.run_seed)
        reference = (actor.reference() or Reference(self.policy())) if recipe.train.needs_reference else None
        setting = Setting(
            train=recipe.train,
            seed=recipe.run_seed,
            rows=self.rows("train"),
            max_new_tokens=recipe.policy.max_new_tokens,
            reward=self.reward(recipe),
            evaluate=self.evaluation(recipe),
            checkpoints=checkpoints,
        )
        return Trainer(actor, reference, setting)

    @cached_property
    def _versions(self) -> str:
        import torch
        import transformers

        return f"torch {torch.__version__}, transformers {transformers.__version__}"

    def machine(self) -> str:
        """The machine and the versions, in words."""
        return f"{os.cpu_count()} CPU cores ({platform.machine()}), {self._versions}"


def prepared() -> Quickstart:
    """Data, warm-up and validated reward of the quickstart; from the store where they are finished."""
    context = Context(load_recipe(RECIPE), Home.here())
    data = prepare_data(context)
    warmup = starting_policy(context, data)
    return Quickstart(context, data, warmup, validated_reward(context, data, warmup))
