"""A run's whole configuration: one YAML file, validated into a closed, frozen model before anything runs."""

from ratchet.components.recipe.benchmarks import Inspect, Library, LmEval
from ratchet.components.recipe.data import (
    PAIR_COLUMNS,
    PROBLEM_COLUMNS,
    Checks,
    Data,
    Decontaminate,
    LengthLimit,
    NearDuplicates,
    Split,
)
from ratchet.components.recipe.evaluation import Evaluation, Slice, slices_of
from ratchet.components.recipe.gate import ErrorMode, Gate, Guard, Primary, Rules
from ratchet.components.recipe.gold import Gold, GoldValidation
from ratchet.components.recipe.grader_kinds import Compared, Http, JsonMatch, Label, Math, Sql, TextSimilarity, UserFunction
from ratchet.components.recipe.graders import Choice, Exact, GraderSettings, JsonSchema, Length, Multi, Numbers, Pattern
from ratchet.components.recipe.limits import Limits
from ratchet.components.recipe.loading import MAX_RECIPE_BYTES, build_recipe, default_name, load_recipe, parse_yaml
from ratchet.components.recipe.measures import Kind, headline, is_measure, is_of_gold, kind_of, samples_needed
from ratchet.components.recipe.openai_graders import OpenAI, OpenAIGrader, OpenAIMulti, OpenAIPython, Similarity, StringCheck
from ratchet.components.recipe.policy import Policy, Warmup
from ratchet.components.recipe.recipe import Recipe
from ratchet.components.recipe.retention import Retention
from ratchet.components.recipe.reward import CHECKS, Failures, Reward, RewardLora, RewardModel, RewardValidation, Term
from ratchet.components.recipe.sentinel import Sentinel
from ratchet.components.recipe.sources import (
    ChatLogs,
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
from ratchet.components.recipe.task import Message, Task
from ratchet.components.recipe.train import Critic, Lora, Loss, Sampling, Train

__all__ = [
    "CHECKS",
    "MAX_RECIPE_BYTES",
    "PAIR_COLUMNS",
    "PROBLEM_COLUMNS",
    "ChatLogs",
    "Checks",
    "Choice",
    "Compared",
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
    "Gold",
    "GoldValidation",
    "GraderSettings",
    "Guard",
    "Http",
    "HubDataset",
    "Inspect",
    "JsonLines",
    "JsonMatch",
    "JsonSchema",
    "Kind",
    "Label",
    "Length",
    "LengthLimit",
    "Library",
    "Limits",
    "LmEval",
    "Lora",
    "Loss",
    "Math",
    "Message",
    "Mix",
    "Multi",
    "NearDuplicates",
    "Numbers",
    "OpenAI",
    "OpenAIGrader",
    "OpenAIMulti",
    "OpenAIPython",
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
    "Similarity",
    "Slice",
    "Split",
    "Sql",
    "StringCheck",
    "Task",
    "Term",
    "TextSimilarity",
    "Train",
    "UserFunction",
    "Warmup",
    "Weighted",
    "WordProblems",
    "build_recipe",
    "default_name",
    "headline",
    "is_measure",
    "is_of_gold",
    "kind_of",
    "load_recipe",
    "parse_yaml",
    "parts",
    "samples_needed",
    "short_form",
    "slices_of",
]
