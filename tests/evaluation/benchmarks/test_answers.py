"""What a policy answers a library."""

import numpy as np
import pytest

from ratchet.components.errors import DataError, ModelError
from ratchet.components.evaluation.benchmarks.answers import Answer, DecodingSettings, Respondent, cut, item_score
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.plain import generate
from tests.tiny_models import tiny_policy

SAMPLED = DecodingSettings(temperature=1.0, max_new_tokens=8)


def asked(*prompts: str, seed: int = 7, decoding: DecodingSettings = SAMPLED) -> list[Answer]:
    respondent = Respondent(tiny_policy(), seed, "b")
    return respondent.answer([[{"role": "user", "content": prompt}] for prompt in prompts], decoding)


def test_an_answer_depends_on_seed_and_prompt_and_not_on_the_others() -> None:
    both = asked("1 apple", "2 apples")
    assert asked("2 apples") == both[1:]
    assert asked("1 apple", "2 apples", seed=8) != both


def test_the_same_prompt_is_drawn_anew_each_time() -> None:
    first, second = asked("1 apple", "1 apple")
    assert first == asked("1 apple")[0]
    assert first != second


def test_greedy_is_what_the_sampler_says_greedily() -> None:
    policy = tiny_policy()
    prompts = [policy.encode_prompt("1 apple")]
    ((drawn,),) = generate(policy, SamplingRequest(prompts, [0], SamplingSettings(1, 8, 0.0), SamplingSeed(0, ""), policy.ends))
    (answer,) = asked("1 apple", decoding=DecodingSettings(0.0, 8))
    assert answer == Answer(policy.decode(drawn.tokens), len(drawn.tokens), drawn.finished)


def test_a_stop_sequence_ends_the_text_and_the_count() -> None:
    policy = tiny_policy()
    tokens = [policy.tokenizer(letter, add_special_tokens=False).input_ids[0] for letter in "abcde"]
    completion = Completion(tokens, [0.0] * 5, finished=False)
    assert cut(policy, completion, ["d", "bc"]) == Answer("a", 3, True)
    assert cut(policy, completion, ["x", ""]) == Answer("abcde", 5, False)


def test_a_prompt_without_room_is_refused_and_not_cut() -> None:
    with pytest.raises(ModelError, match="exceed the model's context of 128"):
        asked("apples " * 128)


def test_a_score_is_a_number_between_0_and_1() -> None:
    assert [item_score("b", "it", value) for value in (True, 0, 0.25, np.float64(1), np.bool_(False))] == [1, 0, 0.25, 1, 0]


@pytest.mark.parametrize("value", ["C", None, (0.5, 3), 37.5, -0.1, float("nan"), np.array([1.0])])
def test_any_other_score_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="not a number between 0 and 1"):
        item_score("b", "it", value)
