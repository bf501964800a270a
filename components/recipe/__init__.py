"""A run's whole configuration: one YAML file, validated into a closed, frozen model before anything runs."""

from components.recipe.base import digest_of
from components.recipe.benchmarks import Inspect, Library, LmEval
from components.recipe.data import (
    PAIR_COLUMNS,
    PROBLEM_COLUMNS,
    Checks,
    Data,
    Decontaminate,
    LengthLimit,
    NearDuplicates,
    Split,
)
from components.recipe.evaluation import Evaluation, Slice, slices_of
from components.recipe.gate import ErrorMode, Gate, Guard, Primary, Rules
from components.recipe.loading import MAX_RECIPE_BYTES, build_recipe, load_recipe, parse_yaml
from components.recipe.measures import Kind, kind_of, samples_needed
from components.recipe.policy import Policy, Warmup
from components.recipe.retention import Retention
from components.recipe.reward import CHECKS, Failures, Reward, RewardLora, RewardModel, RewardValidation, Term
from components.recipe.sentinel import Sentinel
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
from components.recipe.verifier import Choice, Exact, JsonSchema, Length, Numbers, Pattern, Verifier
from components.recipe.whole import Recipe

__all__ = [
    "CHECKS",
    "MAX_RECIPE_BYTES",
    "PAIR_COLUMNS",
    "PROBLEM_COLUMNS",
    "Checks",
    "Choice",
    "Critic",
    "Csv",
    "Data",
    "Decontaminate",
    "ErrorMode",
    "Evaluation",
    "Exact",
    "Failures",
    "Folder",
    "Gate",
    "Guard",
    "HubDataset",
    "Inspect",
    "JsonLines",
    "JsonSchema",
    "Kind",
    "Length",
    "LengthLimit",
    "Library",
    "LmEval",
    "Lora",
    "Loss",
    "Mix",
    "NearDuplicates",
    "Numbers",
    "Parquet",
    "Pattern",
    "Policy",
    "Primary",
    "Recipe",
    "Records",
    "Retention",
    "Reward",
    "RewardLora",
    "RewardModel",
    "RewardValidation",
    "Rules",
    "Sampling",
    "Sentinel",
    "Slice",
    "Split",
    "Term",
    "Train",
    "Verifier",
    "Warmup",
    "Weighted",
    "WordProblems",
    "build_recipe",
    "digest_of",
    "kind_of",
    "load_recipe",
    "parse_yaml",
    "parts",
    "samples_needed",
    "short_form",
    "slices_of",
]
