"""How many tokens a prompt and its completion may have together, from a model's configuration. Imports no torch."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import nlargest
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from ratchet.components.errors import ModelError

LONGEST = 256
LONG_ROPE = ("longrope", "su")  # the second is its name in earlier configurations


class ContextLimit(NamedTuple):
    """The most tokens, and what limits them."""

    tokens: int
    text: str

    def require(self, prompt: int, new: int) -> None:
        """
        Raises:
            ModelError: if a prompt and ``policy.max_new_tokens`` have more tokens together.
        """
        if prompt + new > self.tokens:
            raise ModelError(
                f"a prompt of {prompt} tokens and policy.max_new_tokens={new} exceed {self.text}. "
                "Lower policy.max_new_tokens or data.max_prompt_chars, or use a model with a longer context."
            )


def context_limit(config: Any) -> ContextLimit | None:
    """The limit of a text configuration of transformers; None if it states none.

    Beyond ``original_max_position_embeddings`` longrope takes other frequencies for every row of a batch as soon as one is that
    long: a row's log-probs would depend on the others, and change at that length. Dynamic NTK does so beyond
    ``max_position_embeddings``, and never within it.
    """
    stated = getattr(config, "max_position_embeddings", None)
    original = min(_long_rope(config), default=None)
    if original is not None and (stated is None or original < stated):
        name = "original_max_position_embeddings"
        return ContextLimit(original, f"the {original} tokens ({name}) beyond which this longrope model changes every log-prob")
    return None if stated is None else ContextLimit(int(stated), f"the model's context of {stated}")


def context_tokens(config: Any) -> int | None:
    """:func:`context_limit` as a number."""
    limit = context_limit(config)
    return None if limit is None else limit.tokens


def _long_rope(config: Any) -> Iterator[int]:
    """Up to how many tokens the frequencies of each longrope are those of the shorter texts."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    for part in [rope, *(one for one in rope.values() if isinstance(one, Mapping))]:  # one for each type of layer
        own = getattr(config, "original_max_position_embeddings", None) or part.get("original_max_position_embeddings")
        changes = any(part.get(f"short_{name}") != part.get(f"long_{name}") for name in ("factor", "mscale"))
        if part.get("rope_type", part.get("type")) in LONG_ROPE and own is not None and changes:
            yield int(own)


def limit_of_folder(path: Path) -> ContextLimit | None:
    """The limit of a model's directory, read without transformers; None if that is not known."""
    try:
        fields = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # loading the model reports it
    fields = fields.get("text_config") or fields
    return context_limit(SimpleNamespace(**{"max_position_embeddings": fields.get("n_positions"), **fields}))


def longest_prompt(encode: Callable[[Mapping[str, Any]], Sequence[int]], rows: Sequence[Mapping[str, Any]]) -> int:
    """Tokens of the longest prompt, among those of most characters; the sampler checks every one."""
    longest = nlargest(LONGEST, enumerate(rows), key=lambda numbered: (len(numbered[1]["prompt"]), numbered[0]))
    return max((len(encode(row)) for _, row in longest), default=0)
