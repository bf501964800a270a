"""A run's whole configuration: one YAML file, validated into a closed, frozen model before anything runs."""

from components.recipe.base import digest_of
from components.recipe.data import Data, JsonLines, Split, WordProblems
from components.recipe.evaluation import Evaluation, Slice
from components.recipe.gate import ErrorMode, Gate, Guard, Primary, Rules
from components.recipe.loading import MAX_RECIPE_BYTES, build_recipe, load_recipe, parse_yaml
from components.recipe.measures import Kind, kind_of, samples_needed
from components.recipe.policy import Policy, Warmup
from components.recipe.reward import Reward, RewardModel, RewardValidation
from components.recipe.train import Critic, Lora, Loss, Sampling, Train
from components.recipe.whole import Recipe

__all__ = [
    "MAX_RECIPE_BYTES",
    "Critic",
    "Data",
    "ErrorMode",
    "Evaluation",
    "Gate",
    "Guard",
    "JsonLines",
    "Kind",
    "Lora",
    "Loss",
    "Policy",
    "Primary",
    "Recipe",
    "Reward",
    "RewardModel",
    "RewardValidation",
    "Rules",
    "Sampling",
    "Slice",
    "Split",
    "Train",
    "Warmup",
    "WordProblems",
    "build_recipe",
    "digest_of",
    "kind_of",
    "load_recipe",
    "parse_yaml",
    "samples_needed",
]
