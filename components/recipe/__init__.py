"""A run's whole configuration: one YAML file, validated into a closed, frozen model before anything runs."""

from components.recipe.base import digest_of
from components.recipe.data import Checks, Data, Decontaminate, Length, NearDuplicates, Split
from components.recipe.gate import Evaluation, Gate, Rules
from components.recipe.loading import MAX_RECIPE_BYTES, build_recipe, load_recipe, parse_yaml
from components.recipe.policy import Policy, Warmup
from components.recipe.reward import Reward, RewardModel, RewardValidation
from components.recipe.sources import (
    Csv,
    Folder,
    HubDataset,
    JsonLines,
    Mix,
    Parquet,
    Records,
    Weighted,
    WordProblems,
    parts,
    short_form,
)
from components.recipe.train import Critic, Lora, Loss, Sampling, Train
from components.recipe.whole import Recipe

__all__ = [
    "MAX_RECIPE_BYTES",
    "Checks",
    "Critic",
    "Csv",
    "Data",
    "Decontaminate",
    "Evaluation",
    "Folder",
    "Gate",
    "HubDataset",
    "JsonLines",
    "Length",
    "Lora",
    "Loss",
    "Mix",
    "NearDuplicates",
    "Parquet",
    "Policy",
    "Recipe",
    "Records",
    "Reward",
    "RewardModel",
    "RewardValidation",
    "Rules",
    "Sampling",
    "Split",
    "Train",
    "Warmup",
    "Weighted",
    "WordProblems",
    "build_recipe",
    "digest_of",
    "load_recipe",
    "parse_yaml",
    "parts",
    "short_form",
]
