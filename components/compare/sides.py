"""What ``ratchet compare`` is asked to compare, and what both sides must share for a comparison to mean anything."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Recipe, load_recipe
from ratchet.components.recipe.presets import PRESETS
from ratchet.components.recipe.run_limits import RunLimits

VERSION = re.compile(r"[1-9][0-9]{0,8}|champion|challenger")
OVERRIDES = re.compile(r"@(?=[A-Za-z_][\w.]*=)")  # not every @: a user's function is FILE.py@NAME
SLOT = "compare"  # of recipes with seed: slot
WAYS = "an algorithm (grpo), a recipe file, or two registered versions (2 3); recipes and algorithms take @key.path=value"


@dataclass(frozen=True)
class Side:
    """One of the two: a recipe with overrides, as it was asked for."""

    name: str
    file: Path
    overrides: tuple[str, ...]

    def recipe(self, *more: str) -> Recipe:
        """The recipe, with further overrides; its limits do not count, because a comparison has a budget.

        Raises:
            RecipeError: if it is invalid.
        """
        return load_recipe(self.file, [*self.overrides, *more]).model_copy(update={"limits": RunLimits()}).with_slot(SLOT)


@dataclass(frozen=True)
class Budget:
    """What each training may use: completions drawn, or optimisation steps."""

    samples: int | None = None
    steps: int | None = None

    def steps_of(self, recipe: Recipe, per_step: int) -> int:
        """Steps of a training.

        Args:
            per_step: completions that a step draws.

        Raises:
            RecipeError: if the budget is below one step.
        """
        if self.steps is not None:
            return self.steps
        assert self.samples is not None
        if self.samples < per_step:
            raise RecipeError(
                f"--budget samples={self.samples} is less than a step of {recipe.train.algorithm} draws ({per_step}: "
                "train.prompts x train.k). Raise it."
            )
        return self.samples // per_step

    def text(self) -> str:
        """In words, for people."""
        return f"{self.steps:,} steps" if self.samples is None else f"{self.samples:,} completions"


def are_versions(sides: tuple[str, str]) -> bool:
    """Whether two registered versions are meant.

    Raises:
        RecipeError: if only one side is a version.
    """
    found = [VERSION.fullmatch(text) is not None for text in sides]
    if any(found) and not all(found):
        raise RecipeError(f"{' and '.join(sides)}: a registered version compares with another one. Give {WAYS}.")
    return all(found)


def side_of(text: str, recipe: Path, overrides: Sequence[str], here: Path) -> Side:
    """An algorithm's name (of the recipe with it), or a recipe file; each may be followed by ``@key.path=value``, repeatedly.

    Args:
        recipe: what a side that names no file is based on.
        overrides: of both sides, before their own.
        here: the folder that a file's path is relative to.

    Raises:
        RecipeError: if it is none of these.
    """
    if (here / text).is_file():
        return Side(text, here / text, tuple(overrides))
    base, *own = OVERRIDES.split(text)
    if base in PRESETS:
        return Side(text, recipe, (*overrides, f"train.algorithm={base}", *own))
    if base == "" and own:
        return Side(text, recipe, (*overrides, *own))
    if base and (here / base).is_file():
        return Side(text, here / base, (*overrides, *own))
    raise RecipeError(f"{text!r} is no algorithm ({', '.join(PRESETS)}), and no such file is here. Give {WAYS}.")


def budget_of(text: str | None, sizes: Sequence[tuple[Recipe, int]]) -> Budget:
    """The budget that was asked for, else the completions of the side that needs fewer.

    Args:
        sizes: each side's recipe, and the completions that a step of it draws.

    Raises:
        RecipeError: if the text is not a budget.
    """
    if text is None:
        return Budget(samples=min(recipe.train.steps * per_step for recipe, per_step in sizes))
    kind, _, number = text.partition("=")
    if kind not in ("samples", "steps") or not re.fullmatch(r"[1-9][0-9]{0,11}", number):
        raise RecipeError(f"--budget {text!r} is not a budget. Write --budget samples=20480 or --budget steps=100.")
    return Budget(**{kind: int(number)})


def require_same_task(first: Recipe, second: Recipe) -> None:
    """
    Raises:
        RecipeError: naming what the sides would be judged by and do not share.
    """
    shared = {
        "data": (first.data, second.data),
        "the gold": (first.gold_settings, second.gold_settings),
        "evaluation.dev_items": (first.evaluation.dev_items, second.evaluation.dev_items),
        "evaluation.temperature": (first.evaluation.temperature, second.evaluation.temperature),
    }
    different = [name for name, (one, other) in shared.items() if one != other]
    if different:
        raise RecipeError(
            f"the two sides differ in {' and '.join(different)}, so that what they score does not compare. Give both the same, "
            "with --set."
        )
