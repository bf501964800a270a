"""What the benchmarks share: the quickstart's data, starting policy and reward, made once and kept in the store."""

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.components.recipe import Recipe, load_recipe
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.gold import validated_gold
from ratchet.components.stages.results import DataStage, PolicyStage, RewardStage
from ratchet.components.stages.reward import validated_reward
from ratchet.components.stages.stage import Context
from ratchet.components.stages.warmup import starting_policy
from ratchet.components.storage.home import Home

if TYPE_CHECKING:
    from ratchet.components.policy.loading import Policy
    from ratchet.components.training.loop import Trainer

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"


@dataclass(frozen=True)
class Quickstart:
    """The finished stages before training."""

    context: Context
    data: DataStage
    warmup: PolicyStage
    validated: RewardStage | None

    @property
    def folder(self) -> Path:
        """Where benchmarks keep what they have measured."""
        return self.context.home.state / "benchmarks"

    @property
    def samples_per_step(self) -> int:
        train = self.context.recipe.train
        return train.prompts * train.group_size

    def recipe(self, *overrides: str) -> Recipe:
        """The quickstart with overrides."""
        return load_recipe(RECIPE, overrides)

    def rows(self, split: str) -> Sequence[dict[str, Any]]:
        return self.data.table(split)

    def policy(self) -> "Policy":
        """A fresh copy of the starting policy."""
        from ratchet.components.policy.loading import load_policy, pick_device

        return load_policy(self.warmup.model, pick_device("auto"))

    def reward(self, recipe: Recipe) -> Any:
        """The reward that the recipe trains against."""
        from ratchet.components.policy.loading import pick_device
        from ratchet.components.rewards.build import build_reward

        assert self.validated is not None
        return build_reward(recipe.reward, self.validated.model, pick_device("auto"))

    def evaluation(self, recipe: Recipe, reward: Any | None = None, purpose: str = "dev") -> Any:
        """Sampled accuracy of a policy on the first dev items by the verifier; the reward's mean and the KL beside it."""
        from ratchet.components.graders.number import grade_numbers
        from ratchet.components.policy.adapters import Reference
        from ratchet.components.policy.engines.engine import SamplingSeed, SamplingSettings
        from ratchet.components.training.dev_evaluation import dev_evaluation

        return dev_evaluation(
            self.rows("dev")[: recipe.evaluation.dev_items],
            reward or grade_numbers,
            Reference(self.policy()) if reward and purpose == "dev" else None,
            SamplingSettings(1, recipe.policy.max_new_tokens, recipe.evaluation.temperature),
            SamplingSeed(7, purpose),
        )

    def trainer(self, recipe: Recipe, checkpoints: Path, reward: Any | None = None) -> "Trainer":
        """A training run of the recipe from the starting policy; against another reward, where one is given."""
        from ratchet.components.policy.adapters import Reference
        from ratchet.components.training.actor import Actor
        from ratchet.components.training.dev_evaluation import OTHER_DRAWS
        from ratchet.components.training.loop import Trainer
        from ratchet.components.training.setting import RewardedPrompts, Setting, Storage

        actor = Actor(self.policy(), recipe.train, recipe.run_seed)
        reference = (actor.reference() or Reference(self.policy())) if recipe.train.needs_reference else None
        reward = reward or self.reward(recipe)
        setting = Setting(
            train=recipe.train,
            seed=recipe.run_seed,
            task=RewardedPrompts(self.rows("train"), recipe.policy.max_new_tokens, reward),
            evaluate=self.evaluation(recipe, reward),
            storage=Storage(checkpoints),
            evaluate_again=[self.evaluation(recipe, reward, purpose) for purpose in OTHER_DRAWS],
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


def measured(trainer: "Trainer") -> Iterator[tuple[int, float, Mapping[str, float]]]:
    """A run's metrics as they come, behind the samples drawn and the seconds of training steps so far."""
    from ratchet.components.training.events import StepMetrics

    samples, seconds = 0, 0.0
    for event in trainer.run():
        if isinstance(event, StepMetrics):
            samples += int(event.values.get("num_samples", 0))
            seconds += event.values.get("step_time", 0.0)
            yield samples, seconds, event.values


def kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A result from its file; measured and written where there is none yet."""
    if not path.exists():
        part = path.with_suffix(".part")  # renamed when whole: a benchmark that was killed leaves no half of a file
        part.write_text(json.dumps(measure()), encoding="utf-8")
        part.rename(path)
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def prepared(validated: bool = True) -> Quickstart:
    """Data, warm-up and, if asked for, validated reward of the quickstart; from the store where they are finished."""
    context = Context(load_recipe(RECIPE), Home.here())
    data = prepare_data(context)
    warmup = starting_policy(context, data)
    reward = validated_reward(context, data, warmup, validated_gold(context, data)) if validated else None
    return Quickstart(context, data, warmup, reward)
