"""A run's whole configuration: one YAML file, validated into a closed, frozen model before anything runs."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.errors import RecipeError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]

MAX_RECIPE_BYTES = 1_000_000


class Section(BaseModel):
    """A closed, frozen part of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class WordProblems(Section):
    """Generated GSM8K-format word problems."""

    kind: Literal["word_problems"] = "word_problems"
    problems: Count = 24_000
    max_operand: Annotated[int, Field(ge=2, le=1000)] = 20
    demo_noise: Share = 0.34


class JsonLines(Section):
    """A JSONL file with a question and a worked answer that ends ``#### N``, such as GSM8K's own."""

    kind: Literal["jsonl"]
    path: str
    question: str = "question"
    answer: str = "answer"
    pairs: str | None = None  # JSONL of question, chosen, rejected; without it near misses are derived from the answers
    limit: Count | None = None


class Split(Section):
    """Shares of the prompts, assigned by a hash of the normalised prompt; what is left over is train."""

    dev: Annotated[float, Field(gt=0, lt=1)] = 0.03
    sealed: Annotated[float, Field(gt=0, lt=1)] = 0.12  # divided into the reserve folds
    sealed_folds: Annotated[int, Field(ge=1, le=64)] = 4
    guard: Share = 0.02
    pairs: Share = 0.40
    pairs_heldout: Share = 0.10  # of the pairs

    @model_validator(mode="after")
    def _room_for_train(self) -> "Split":
        total = self.dev + self.sealed + self.guard + self.pairs
        if total >= 1:
            raise ValueError(f"dev + sealed + guard + pairs is {total:g}, which leaves no train split; lower one of them")
        return self


class Data(Section):
    """Versioned dataset preparation."""

    source: Annotated[WordProblems | JsonLines, Field(discriminator="kind")] = WordProblems()
    seed: int = 1
    pair_noise: Share = 0.05
    max_prompt_chars: Count = 2_000
    split: Split = Split()


class Warmup(Section):
    """Supervised fine-tuning of the embedded tiny policy."""

    layers: Count = 4
    width: Count = 128
    heads: Count = 4
    vocabulary: Annotated[int, Field(ge=300)] = 768
    context: Count = 256
    steps: Count = 700
    batch: Count = 64
    lr: Positive = 2e-3

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Warmup":
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is not a multiple of twice heads {self.heads}; change one of them")
        return self


class Policy(Section):
    """The starting policy: the warmed-up tiny one, or an existing model."""

    start: Literal["base", "champion"] = "base"
    model: str | None = None  # a directory or hub id; skips the warm-up
    revision: str | None = None  # commit of a hub id
    warmup: Warmup = Warmup()
    max_new_tokens: Count = 32


class RewardModel(Section):
    """A Bradley-Terry reward model trained on preference pairs."""

    base: str | None = None  # a model directory; by default the starting policy's trunk
    steps: Count = 400
    batch: Count = 32
    lr: Positive = 3e-4
    label_noise: Share = 0.0  # share of training pairs with flipped labels; held-out pairs are untouched


class RewardValidation(Section):
    """What a reward must show before anything is trained against it."""

    pair_accuracy_lower_bound: Share = 0.75
    max_length_correlation: Share = 0.5
    min_agreement: Share = 0.6  # AUC of the reward against the verifier on samples of the current policy
    samples: Count = 256  # prompts sampled from the current policy


class Reward(Section):
    """The training reward."""

    kind: Literal["verifier", "model", "mix", "custom"] = "mix"
    verifier_weight: Annotated[float, Field(ge=0)] = 1.0  # used by mix
    model_weight: Annotated[float, Field(ge=0)] = 0.2  # used by mix; the model's score is squashed into (0, 1)
    function: str | None = None  # used by custom: module:function
    model: RewardModel = RewardModel()
    validation: RewardValidation = RewardValidation()

    @model_validator(mode="after")
    def _kind_has_its_parts(self) -> "Reward":
        if (self.kind == "custom") != (self.function is not None):
            raise ValueError("reward.function goes with reward.kind=custom, and only with it; set both or neither")
        if self.kind == "mix" and self.verifier_weight + self.model_weight == 0:
            raise ValueError("both weights of the mix are zero; raise reward.verifier_weight or reward.model_weight")
        return self

    @property
    def needs_model(self) -> bool:
        return self.kind in ("model", "mix")


class Train(Section):
    """The RL loop."""

    algorithm: Literal["grpo", "ppo"] = "grpo"
    steps: Count = 120
    prompts: Count = 32
    k: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = 8
    lr: Positive = 3e-4
    kl: Literal["none", "reward", "loss"] = "none"
    kl_coefficient: Annotated[float, Field(ge=0)] = 0.02
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    epochs: Count = 1  # passes over each batch of rollouts
    minibatches: Count = 1  # optimiser steps a pass
    micro_tokens: Count = 16_384  # packed tokens a forward pass
    temperature: Positive = 1.0
    gamma: Share = 1.0
    gae_lambda: Share = 0.95
    critic_lr: Positive = 1e-3
    critic_warmup_steps: Annotated[int, Field(ge=0)] = 10
    value_clip: Positive = 0.2
    max_grad_norm: Positive = 1.0
    evaluate_every: Count = 20  # steps between dev evaluations, each of which commits a checkpoint
    keep_checkpoints: Annotated[int, Field(ge=2)] = 3

    @model_validator(mode="after")
    def _groups_can_be_compared(self) -> "Train":
        if self.algorithm == "grpo" and self.k == 1:
            raise ValueError("train.k=1 gives GRPO nothing to compare; use k >= 2, or train.algorithm=ppo")
        if self.k == "auto":
            raise ValueError("train.k=auto needs the group-size advice, which this version does not have; give an integer")
        if self.prompts % self.minibatches:
            raise ValueError(f"train.prompts={self.prompts} is not divisible by train.minibatches={self.minibatches}")
        return self

    @property
    def group_size(self) -> int:
        assert isinstance(self.k, int)
        return self.k


class Evaluation(Section):
    """How a policy is measured."""

    dev_items: Count = 400  # items of the dev split scored during training and in the report
    temperature: Positive = 1.0
    sample_rows: Count = 40  # completions kept in the samples table


class Rules(Section):
    """When a challenger may replace the incumbent."""

    alpha_epoch: Annotated[float, Field(gt=0, lt=1)] = 0.05
    uses_per_epoch: Count = 26
    floor: Share = 0.5  # a first champion's accuracy must be above it (lower bound)
    target_effect: Positive = 0.10  # smallest gain the gate must be able to see, with power 0.8
    max_length_ratio: Positive = 1.5  # challenger's mean length against the incumbent's
    max_kl: Positive = 20.0  # nats a completion, challenger to starting policy
    guard_alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    max_missing: Share = 0.01


class Gate(Section):
    """The promotion gate."""

    rules: Rules


class Recipe(Section):
    """A complete run. ``seed: slot`` derives the seed from the logical date, so that a scheduled run trains anew."""

    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**63)] | Literal["slot"] = 7
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=0)] = 0  # CPU threads; 0 leaves torch's choice
    data: Data = Data()
    policy: Policy = Policy()
    reward: Reward = Reward()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()
    gate: Gate

    @model_validator(mode="after")
    def _reward_model_has_pairs(self) -> "Recipe":
        split = self.data.split
        if self.reward.needs_model and (split.pairs == 0 or not 0 < split.pairs_heldout < 1):
            raise ValueError(
                f"reward.kind={self.reward.kind} trains a reward model, but data.split leaves no pairs to train or to "
                "validate it on; raise data.split.pairs, and put data.split.pairs_heldout between 0 and 1"
            )
        return self

    @property
    def digest(self) -> str:
        return digest_of(self.model_dump(mode="json"))

    @property
    def run_seed(self) -> int:
        """The resolved seed; ``with_slot`` must have been called where the recipe says ``slot``."""
        assert isinstance(self.seed, int), "seed: slot was not resolved"
        return self.seed

    def with_slot(self, slot: str) -> "Recipe":
        """The recipe with ``seed: slot`` replaced by a seed derived from the logical date."""
        if self.seed != "slot":
            return self
        seed = int(hashlib.sha256(f"{self.name}:{slot}".encode()).hexdigest()[:12], 16)
        return self.model_copy(update={"seed": seed})


def digest_of(value: object) -> str:
    """sha256 of the canonical JSON of a value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class _UniqueKeyLoader(yaml.SafeLoader):
    """safe_load that refuses duplicate keys and aliases (which could expand without bound)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("YAML aliases are not allowed in a recipe")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        repeated = {str(key) for key in keys if keys.count(key) > 1}
        if repeated:
            raise yaml.YAMLError(f"key given twice: {', '.join(sorted(repeated))}")
        return super().construct_mapping(node, deep=deep)


# YAML 1.1 reads 3e-4 as a string; every recipe writer means a number.
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse_yaml(text: str, source: str) -> Any:
    """Parse one YAML document safely; ``source`` names it in errors."""
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{source} is not valid YAML: {error}. Correct the file.") from error


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply ``key.path=value`` overrides.

    Raises:
        RecipeError: naming the key, the value and the remedy.
    """
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise RecipeError(f"{path} is larger than {MAX_RECIPE_BYTES} bytes. Give a recipe file.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read recipe {path}: {error}. Give the path of a recipe with --recipe.") from error
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise RecipeError(f"{path} does not hold a mapping. Start from recipes/quickstart.yaml.")
    for override in overrides:
        _override(values, override)
    return build_recipe(values, str(path))


def build_recipe(values: dict[str, Any], source: str) -> Recipe:
    """Validate a mapping into a recipe; ``source`` names it in errors."""
    for key, value in _leaves(values, ""):
        if isinstance(value, bool):  # which pydantic would take for 1 or 0
            raise RecipeError(
                f"{source} is not a valid recipe:\n  {key}: {str(value).lower()} is not a value here. Correct it."
            )
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines = dict(map(_explain, reversed(error.errors())))  # one line a key, a union's first
        raise RecipeError("\n".join([f"{source} is not a valid recipe:", *reversed(lines.values())])) from error


def _leaves(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise RecipeError(f"--set {override!r} is not key.path=value. Write, for example, --set train.algorithm=ppo.")
    *parents, last = key.split(".")
    place = values
    for parent in parents:
        child = place.setdefault(parent, {})
        if not isinstance(child, dict):
            raise RecipeError(f"--set {key}: {parent!r} is a value, not a section. Check the key with `ratchet recipe show`.")
        place = child
    place[last] = parse_yaml(text, f"--set {key}")


def _explain(error: Any) -> tuple[str, str]:
    # A union's tag appears in the location; users never write it.
    parts = [str(part) for part in error["loc"] if not str(part).startswith(("literal[", "constrained-int"))]
    if parts[:2] == ["data", "source"] and len(parts) > 2:
        del parts[2]
    if parts in (["seed", "int"], ["train", "k", "int"]):
        del parts[-1]
    key = ".".join(parts)
    given = "" if error["type"] in ("missing", "value_error") else f" (given: {error['input']!r})"
    remedy = {
        "extra_forbidden": "Remove it, or see `ratchet recipe show` for the keys there are.",
        "missing": "Add it; recipes/quickstart.yaml shows every key.",
    }.get(error["type"], "Correct the value.")
    message = "unknown key" if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, ")
    return key, f"  {key or 'recipe'}: {message}{given}. {remedy}"
