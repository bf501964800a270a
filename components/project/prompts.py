"""How the prompts of rows reach the policy, as far as its tokenizer is on this machine. Imports no torch, no transformers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from ratchet.components.errors import ModelError
from ratchet.components.pretrained.chat import encode_row, render_messages
from ratchet.components.pretrained.context_length import limit_of_folder, longest_prompt
from ratchet.components.pretrained.prompt_tokenizer import PromptTokenizer, folder_of
from ratchet.components.pretrained.template_date import dated
from ratchet.components.recipe import Recipe


@dataclass(frozen=True)
class Prompt:
    """What the policy is asked for a row."""

    row: str  # its id
    text: str


class Rendered(NamedTuple):
    """Prompts, in words which form they have, and why that is not the policy's own; "" if it is."""

    prompts: list[Prompt]
    form: str
    lacks: str = ""


def rendered(recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> Rendered:
    """The prompts of rows in the chat template of ``policy.model``; in plain form where it has none or is not on this machine.

    Raises:
        ModelError: if the template does not accept these prompts.
    """
    model, plain = recipe.policy.model, [Prompt(row["id"], row["prompt"]) for row in rows]
    if model is None:
        return Rendered(plain, "as the policy reads them: one that is warmed up here has no chat template")
    try:
        tokenizer = _tokenizer(recipe)
    except ModelError as error:
        return Rendered(plain, "in plain form", str(error))
    if not tokenizer.chat_template:
        return Rendered(plain, f"as the policy reads them: {model} has no chat template")
    shown = [Prompt(row["id"], render_messages(tokenizer, _messages(row))) for row in rows]
    return Rendered(shown, f"in the chat template of {model}")


def require_room(recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse rows whose completions could run past the context of ``policy.model``, which is on this machine.

    Raises:
        ModelError: naming the longest prompt and the remedy; also if the template does not accept a prompt.
    """
    assert recipe.policy.model is not None
    limit = limit_of_folder(folder_of(recipe.policy.model, recipe.policy.revision))
    if limit is not None:
        limit.require(longest_prompt(partial(encode_row, _tokenizer(recipe)), rows), recipe.policy.max_new_tokens)


def _tokenizer(recipe: Recipe) -> PromptTokenizer:
    """That of ``policy.model``, with the recipe's date in its chat template."""
    assert recipe.policy.model is not None
    found = PromptTokenizer.of_model(recipe.policy.model, recipe.policy.revision)
    template = found.chat_template
    return replace(found, chat_template=_of_the_day(template, recipe.prompt_date)) if template else found


def _of_the_day(templates: str | dict[str, str], date: str) -> str | dict[str, str]:
    if isinstance(templates, str):
        return dated(templates, date)
    return {name: dated(template, date) for name, template in templates.items()}


def _messages(row: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """The row's turns; its prompt as one of the user, if it has no others."""
    turns: Sequence[Mapping[str, str]] | None = row.get("messages")
    return [{"role": "user", "content": row["prompt"]}] if turns is None else turns
