"""A policy that answers a library's prompts, with its own template, counter-based draws and stop sequences."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ratchet.components.errors import DataError, ModelError
from ratchet.components.policy.engines.default import generate
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.loading import Policy
from ratchet.components.pretrained.context_length import context_limit, context_tokens
from ratchet.components.storage.digests import digest_of


@dataclass(frozen=True)
class DecodingSettings:
    """How a library requests an answer; temperature 0 is greedy."""

    temperature: float
    max_new_tokens: int
    top_p: float = 1.0
    stops: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The text before the first stop sequence."""

    text: str
    length: int  # tokens up to it, end-of-sequence included
    finished: bool  # not cut at the limit


class Respondent:
    """A policy with the seed of its draws, which depend on (seed, purpose, prompt, number of earlier requests for it)."""

    def __init__(self, policy: Policy, seed: int, purpose: str) -> None:
        self.policy = policy
        self._seed, self._purpose = seed, purpose
        self._asked: Counter[str] = Counter()

    def answer(self, conversations: Sequence[Sequence[Mapping[str, str]]], decoding: DecodingSettings) -> list[Answer]:
        """Answers to conversations {role, content}, in order.

        Raises:
            ModelError: if a prompt leaves no room for its answer in the model's context.
        """
        names = [digest_of([dict(message) for message in conversation]) for conversation in conversations]
        prompts = [self.policy.encode_messages(conversation) for conversation in conversations]
        require_room(self.policy, max(map(len, prompts), default=0), decoding.max_new_tokens)
        items = [int(name[:16], 16) for name in names]
        settings = SamplingSettings(1, decoding.max_new_tokens, decoding.temperature, decoding.top_p)
        steps = [self._count(name) for name in names]
        answers: dict[int, Answer] = {}
        for step in sorted(set(steps)):
            chosen = [number for number, own in enumerate(steps) if own == step]
            seed = SamplingSeed(self._seed, self._purpose, step)
            drawn = generate(self.policy, SamplingRequest(prompts, items, settings, seed, self.policy.ends).only(chosen))
            answers |= {number: cut(self.policy, one, decoding.stops) for number, (one,) in zip(chosen, drawn, strict=True)}
        return [answers[number] for number in range(len(prompts))]

    def _count(self, name: str) -> int:
        self._asked[name] += 1
        return self._asked[name] - 1


def cut(policy: Policy, completion: Completion, stops: Sequence[str]) -> Answer:
    """A completion up to the first stop sequence, and the number of its tokens."""
    text = policy.decode(completion.tokens)
    places = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    if not places:
        return Answer(text, len(completion.tokens), completion.finished)
    counts = range(len(completion.tokens) + 1)
    needed = bisect_left(counts, True, key=lambda n: any(s in policy.decode(completion.tokens[:n]) for s in stops if s))
    return Answer(text[: min(places)], needed, True)


def context_of(policy: Policy) -> int | None:
    """The model's context length in tokens; None if its configuration does not state it."""
    return context_tokens(policy.model.config.get_text_config())


def require_room(policy: Policy, prompt: int, completion: int) -> None:
    """Reject a prompt that does not fit, rather than truncate it.

    Raises:
        ModelError: if prompt and completion together are longer than the context.
    """
    limit = context_limit(policy.model.config.get_text_config())
    if limit is not None and prompt + completion > limit.tokens:
        raise ModelError(
            f"a prompt of {prompt} tokens and {completion} for its answer exceed {limit.text}. "
            "Give fewer examples (num_fewshot), or a lower maximum of tokens in the task or policy.max_new_tokens."
        )


def item_score(name: str, what: str, value: object) -> float:
    """An item's score between 0 and 1; higher is better.

    Raises:
        DataError: if it is anything else, from which right or wrong cannot be determined.
    """
    number = isinstance(value, bool | int | float) or (hasattr(value, "item") and getattr(value, "ndim", None) == 0)
    if not number or not 0 <= float(value) <= 1:  # type: ignore[arg-type]
        raise DataError(
            f"benchmark {name}: {what} gives {value!r:.60}, which is not a number between 0 and 1. "
            f"Choose one that means right or wrong in evaluation.benchmarks.{name}."
        )
    return float(value)  # type: ignore[arg-type]
