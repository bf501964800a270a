"""How the prompts of rows reach the policy, as far as its tokenizer is on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ratchet.components.recipe import Recipe


@dataclass(frozen=True)
class Prompt:
    """What the policy is asked for a row."""

    row: str  # its id
    text: str


def rendered(recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> tuple[list[Prompt], str]:
    """The prompts of rows, and in words which form they have."""
    plain = [Prompt(row["id"], row["prompt"]) for row in rows]
    if recipe.policy.model is None:
        return plain, "as the policy reads them: one that is warmed up here has no chat template"
    return plain, f"in plain form, without the chat template of {recipe.policy.model}"
