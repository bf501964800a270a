"""What is asked for a sample, and which answers are taken."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from ratchet.components.errors import EngineError
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.vllm.messages import (
    Sample,
    Served,
    Vocabulary,
    completion_of,
    drawing_request,
    samples_of,
    scores_of,
    scoring_request,
)

SERVED = Served("policy-a-v3", "policy-a-v3")
SAMPLE = Sample([5, 6], 11)
SETTINGS = SamplingSettings(2, 3, temperature=0.7, top_p=0.9)
VOCABULARY = Vocabulary(20, (1,))
REPLY = {
    "choices": [
        {
            "token_ids": [7, 8, 1],
            "prompt_token_ids": [5, 6],
            "logprobs": {"token_logprobs": [-1.0, -0.5, 1e-5]},
            "finish_reason": "stop",
        }
    ]
}


def reply(**changes: Any) -> dict[str, Any]:
    changed = deepcopy(REPLY)
    changed["choices"][0] |= changes
    return changed


def log_probs(*values: float | None) -> dict[str, Any]:
    return {"token_logprobs": list(values)}


def test_a_request_leaves_nothing_to_the_servers_defaults() -> None:
    body = drawing_request(SERVED, SAMPLE, SETTINGS, (1, 2))
    assert {name: body[name] for name in ("model", "prompt", "n", "max_tokens", "seed")} == {
        "model": "policy-a-v3",
        "prompt": [5, 6],
        "n": 1,
        "max_tokens": 3,
        "seed": 11,
    }
    assert (body["temperature"], body["top_p"], body["top_k"], body["min_p"], body["repetition_penalty"]) == (
        0.7,
        0.9,
        0,
        0.0,
        1.0,
    )
    assert (body["stop_token_ids"], body["ignore_eos"], body["logprobs"], body["return_token_ids"]) == ([1, 2], True, 0, True)


def test_versions_do_not_share_a_prefix_cache() -> None:
    salts = {drawing_request(Served("base", f"v{n}"), SAMPLE, SETTINGS, ())["cache_salt"] for n in range(3)}
    assert salts == {"v0", "v1", "v2"}
    assert scoring_request(Served("base", "v9"), [1], [2])["cache_salt"] == "v9"


def test_a_samples_seed_depends_on_its_names_alone() -> None:
    request = SamplingRequest([[5], [6]], [3, 4], SETTINGS, SamplingSeed(7, "rollout", 2), [1])
    whole = samples_of(request)
    assert [sample.prompt for sample in whole] == [[5], [5], [6], [6]]
    assert samples_of(request.only([1]))[0].seed == whole[2].seed
    others = [SamplingSeed(8, "rollout", 2), SamplingSeed(7, "refill-0", 2), SamplingSeed(7, "rollout", 3)]
    requests = [request, *(replace(request, seed=other) for other in others)]
    assert len({one.seed for each in requests for one in samples_of(each)}) == 16
    assert all(0 <= sample.seed < 2**63 for sample in whole)


def test_a_reply_is_a_completion_without_entropies() -> None:
    assert completion_of(REPLY, SAMPLE, SETTINGS, VOCABULARY) == Completion([7, 8, 1], [-1.0, -0.5, 0.0], True, [], None)


def test_a_completion_that_was_cut_at_the_limit_is_not_finished() -> None:
    cut = reply(token_ids=[7, 8, 9], finish_reason="length")
    assert not completion_of(cut, SAMPLE, SETTINGS, VOCABULARY).finished


FAULTS = {
    "another prompt's tokens": {"prompt_token_ids": [6, 5]},
    "after 3 tokens with 'abort'": {"finish_reason": "abort"},
    "with None": {"finish_reason": None},
    "has no token": {"token_ids": [], "logprobs": log_probs()},
    "3 tokens and 2 log-probs": {"logprobs": log_probs(-1.0, -0.5)},
    "4 tokens, and 3 were asked for": {"token_ids": [7, 8, 9, 1], "logprobs": log_probs(-1, -1, -1, -1)},
    "outside of the 20": {"token_ids": [7, 20, 1]},
    "no drawn token has": {"logprobs": log_probs(-1.0, -9999.0, -0.5)},
    "continues after a token that ends": {"token_ids": [1, 8, 1]},
    "without one of the policy's ends": {"token_ids": [7, 8, 9]},
    "cut at 2 of 3 tokens": {"token_ids": [7, 8], "logprobs": log_probs(-1.0, -0.5), "finish_reason": "length"},
    "no usable choices.0.logprobs.token_logprobs.0": {"logprobs": log_probs(None, -0.5, -0.5)},
    "(Input should be a finite number)": {"logprobs": log_probs(float("nan"), -0.5, -0.5)},
    "no usable choices.0.token_ids": {"token_ids": None},
    "no usable choices.0.logprobs": {"logprobs": None},
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_reply_that_is_not_that_of_the_request_is_refused(said: str) -> None:
    with pytest.raises(EngineError) as error:
        completion_of(reply(**FAULTS[said]), SAMPLE, SETTINGS, VOCABULARY)
    assert said in str(error.value)


@pytest.mark.parametrize("choices", [[], REPLY["choices"] * 2])
def test_a_reply_has_one_choice(choices: list[Any]) -> None:
    with pytest.raises(EngineError, match="no usable choices"):
        completion_of({"choices": choices}, SAMPLE, SETTINGS, VOCABULARY)


def scored(*places: Any) -> dict[str, Any]:
    return {"choices": [{"prompt_logprobs": list(places)}]}


def test_a_given_text_is_scored_by_its_own_tokens() -> None:
    found = scored(None, {"6": {"logprob": -9.0}}, {"3": {"logprob": -0.1}, "7": {"logprob": -1.5}}, {"8": {"logprob": -2.5}})
    assert scores_of(found, [5, 6], [7, 8]) == [-1.5, -2.5]


@pytest.mark.parametrize(
    "places", [[None, {}, {"7": {"logprob": -1}}], [None, {}, {"9": {"logprob": -1}}, {"8": {"logprob": -1}}]]
)
def test_a_token_that_was_not_scored_is_an_error(places: list[Any]) -> None:
    with pytest.raises(EngineError, match="did not score each token"):
        scores_of(scored(*places), [5, 6], [7, 8])
