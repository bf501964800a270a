"""Requests to /v1/completions and their replies: token ids in, token ids out, one sample per request."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.components.errors import EngineError
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSettings
from ratchet.components.randomness import torch_seed

IMPOSSIBLE = -9000.0  # vLLM writes minus infinity as -9999
ROUNDING = 1e-3  # nats above 0
REPORT = "Check the server with `ratchet engine check`"

Part = TypeVar("Part", bound=BaseModel)


class Served(NamedTuple):
    """A version of the weights as requests name it; every rank draws with the one that rank 0 gave the server."""

    model: str
    version: str  # salts the prefix cache: keys and values of one version are never another's


class Sample(NamedTuple):
    """One sample to draw."""

    prompt: Sequence[int]
    seed: int


class Vocabulary(NamedTuple):
    """Which tokens there are, and at which a completion ends."""

    size: int
    ends: Sequence[int]


class _Part(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)


class _LogProbs(_Part):
    token_logprobs: list[float]


class _Choice(_Part):
    prompt_token_ids: list[int]
    token_ids: list[int]
    logprobs: _LogProbs
    finish_reason: str | None


class _Reply(_Part):
    choices: list[_Choice] = Field(min_length=1, max_length=1)


class _PromptToken(_Part):
    logprob: float


class _Scored(_Part):
    prompt_logprobs: list[dict[int, _PromptToken] | None]


class _ScoredReply(_Part):
    choices: list[_Scored] = Field(min_length=1, max_length=1)


def samples_of(request: SamplingRequest) -> list[Sample]:
    """Every sample, prompt-major. Its seed depends on nothing else: n > 1 would derive seeds in vLLM's own way."""
    seed = request.seed
    return [
        Sample(prompt, torch_seed(seed.seed, f"vllm {seed.purpose}", seed.step, item, number))
        for prompt, item in zip(request.prompts, request.items, strict=True)
        for number in range(request.settings.samples)
    ]


def drawing_request(served: Served, sample: Sample, settings: SamplingSettings, ends: Sequence[int]) -> dict[str, Any]:
    """The body for one sample. What is left out would be taken from the model's generation_config.json."""
    assert settings.temperature > 0
    return {
        "model": served.model,
        "prompt": list(sample.prompt),
        "n": 1,
        "max_tokens": settings.max_new_tokens,
        "seed": sample.seed,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "min_tokens": 0,
        "ignore_eos": True,  # the policy's own ends alone
        "stop_token_ids": list(ends),
        "logprobs": 0,  # of the drawn token alone
        "return_token_ids": True,
        "add_special_tokens": False,
        "cache_salt": served.version,
        "stream": False,
    }


def completion_of(reply: Any, sample: Sample, settings: SamplingSettings, vocabulary: Vocabulary) -> Completion:
    """The completion of a reply. It has no entropies: vLLM gives none.

    Raises:
        EngineError: if it is not that of the request, was aborted, or is not whole.
    """
    choice = _validated(_Reply, reply).choices[0]
    tokens, log_probs = choice.token_ids, choice.logprobs.token_logprobs
    if choice.prompt_token_ids != list(sample.prompt):
        raise EngineError(f"the server answered with another prompt's tokens than it was sent. {REPORT}.")
    if choice.finish_reason not in ("stop", "length"):
        raise EngineError(
            f"the server ended a completion after {len(tokens)} tokens with {choice.finish_reason!r}: it was cut, and what it "
            "would have become is unknown. Let nobody else pause this server, and run the same command to resume."
        )
    if fault := _fault(tokens, log_probs, choice.finish_reason, settings, vocabulary):
        raise EngineError(f"a completion of the server {fault}. {REPORT}.")
    return Completion(tokens, [min(value, 0.0) for value in log_probs], tokens[-1] in vocabulary.ends)


def _fault(
    tokens: list[int], log_probs: list[float], reason: str, settings: SamplingSettings, vocabulary: Vocabulary
) -> str | None:
    """What is wrong with a completion; None if nothing is."""
    limit, ended = settings.max_new_tokens, [token in vocabulary.ends for token in tokens]
    faults = [
        (not tokens, "has no token, not even the one that ended it"),
        (len(tokens) != len(log_probs), f"has {len(tokens)} tokens and {len(log_probs)} log-probs"),
        (len(tokens) > limit, f"has {len(tokens)} tokens, and {limit} were asked for"),
        (any(not 0 <= token < vocabulary.size for token in tokens), f"has a token outside of the {vocabulary.size} there are"),
        (any(not IMPOSSIBLE < value < ROUNDING for value in log_probs), "has a log-prob that no drawn token has"),
        (any(ended[:-1]), "continues after a token that ends one"),
        (reason == "stop" and not any(ended[-1:]), "stopped without one of the policy's ends as its last token"),
        (
            reason == "length" and len(tokens) < limit,
            f"was cut at {len(tokens)} of {limit} tokens: start it with --generation-config vllm and a larger --max-model-len",
        ),
    ]
    return next((text for wrong, text in faults if wrong), None)


def scoring_request(served: Served, prompt: Sequence[int], completion: Sequence[int]) -> dict[str, Any]:
    """The body that has a given text scored at temperature 1; the one token drawn after it is not used."""
    tokens = [*prompt, *completion]
    return {
        "model": served.model,
        "prompt": tokens,
        "max_tokens": 1,
        "seed": 0,
        "prompt_logprobs": 0,  # of the given tokens alone
        "cache_salt": served.version,
    }


def scores_of(reply: Any, prompt: Sequence[int], completion: Sequence[int]) -> list[float]:
    """The log-prob of each token of a given completion.

    Raises:
        EngineError: if the reply lacks one.
    """
    places = _validated(_ScoredReply, reply).choices[0].prompt_logprobs[len(prompt) :]
    found = [None if place is None else place.get(token) for place, token in zip(places, completion, strict=False)]
    if len(places) != len(completion) or any(one is None for one in found):
        raise EngineError(f"the server did not score each token of a text that it was given. {REPORT}.")
    return [one.logprob for one in found if one is not None]


def _validated(kind: type[Part], reply: Any) -> Part:
    try:
        return kind.model_validate(reply)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise EngineError(f"a reply of /v1/completions has no usable {place} ({first['msg']}). {REPORT}.") from error
