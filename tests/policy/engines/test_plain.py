"""The plain engine: completions end and stop where they should, and nothing depends on the batch."""

import math

import pytest
import torch
from torch.testing import assert_close

from ratchet.components.errors import ModelError
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.plain import generate, sample
from ratchet.components.policy.sampler import nucleus_of
from tests.policy.scoring import groups_of, packed, sampled
from tests.tiny_models import tiny_policy

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14], [15, 16], [17, 18, 19]]  # unequal lengths
ITEMS = [3, 1, 4, 15, 9]
SEED = SamplingSeed(7, "test", 2)
NEVER = -1  # an end that no token equals


def draw(numbers: list[int], settings: SamplingSettings, end: int = 1, seed: SamplingSeed = SEED) -> list[list[Completion]]:
    return sample(tiny_policy().model, SamplingRequest(PROMPTS, ITEMS, settings, seed, [end]).only(numbers))


def tokens(results: list[list[Completion]]) -> list[list[list[int]]]:
    return [[completion.tokens for completion in group] for group in results]


def test_greedy_is_what_transformers_generates() -> None:
    model = tiny_policy().model
    results = draw([0, 1, 2, 3, 4], SamplingSettings(1, 10, temperature=0.0))
    for prompt, (completion,) in zip(PROMPTS, results, strict=True):
        generated = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=10)[0, len(prompt) :]
        assert completion.tokens == generated.tolist()


def test_completions_do_not_depend_on_batch_or_order() -> None:
    settings = SamplingSettings(3, 12)
    together = tokens(draw([0, 1, 2, 3, 4], settings))
    assert tokens(draw([4, 2, 0, 3, 1], settings)) == [together[i] for i in (4, 2, 0, 3, 1)]
    assert [tokens(draw([i], settings))[0] for i in range(5)] == together
    assert tokens(draw([0, 1, 2, 3, 4], SamplingSettings(3, 12, rows_at_once=4))) == together


def test_more_samples_leave_the_first_ones_as_they_were() -> None:
    assert tokens(draw([2], SamplingSettings(5, 8)))[0][:2] == tokens(draw([2], SamplingSettings(2, 8)))[0]


def test_seed_purpose_and_step_each_give_other_draws() -> None:
    settings = SamplingSettings(2, 12)
    seeds = [SEED, SamplingSeed(8, "test", 2), SamplingSeed(7, "other", 2), SamplingSeed(7, "test", 3)]
    assert len({str(tokens(draw([0], settings, seed=seed))) for seed in seeds}) == 4


def test_the_samplers_log_probs_are_those_of_scoring() -> None:
    drawn = draw([0, 1, 2, 3, 4], SamplingSettings(3, 12))
    scored = packed(tiny_policy().model, groups_of(PROMPTS, drawn)).detach()
    assert_close(sampled(drawn), scored, rtol=0, atol=1e-4)  # cached against packed attention, fp32


def test_a_completion_ends_with_end_of_sequence() -> None:
    (free,) = draw([0], SamplingSettings(1, 8), NEVER)[0]
    end = free.tokens[3]
    (ended,) = draw([0], SamplingSettings(1, 8), end)[0]
    assert ended.tokens == free.tokens[: free.tokens.index(end) + 1]
    assert ended.finished
    assert len(ended.log_probs) == len(ended.tokens)


def test_a_completion_cut_at_the_limit_is_not_finished() -> None:
    (completion,) = draw([0], SamplingSettings(1, 4), NEVER)[0]
    assert (len(completion.tokens), completion.finished) == (4, False)


def test_an_end_of_sequence_at_the_limit_is_finished() -> None:
    (free,) = draw([1], SamplingSettings(1, 8), NEVER)[0]
    last = next(n for n in range(1, 8) if free.tokens[n] not in free.tokens[:n])
    (completion,) = draw([1], SamplingSettings(1, last + 1), free.tokens[last])[0]
    assert (len(completion.tokens), completion.finished) == (last + 1, True)


def test_finished_rows_leave_the_batch() -> None:
    model, batch_sizes = tiny_policy().model, []
    model.register_forward_pre_hook(lambda _, args, kwargs: batch_sizes.append(len(kwargs["input_ids"])), with_kwargs=True)
    end = draw([0], SamplingSettings(1, 6), NEVER)[0][0].tokens[1]
    ended = sample(model, SamplingRequest(PROMPTS, ITEMS, SamplingSettings(2, 6), SEED, [end]))
    lengths = [len(completion.tokens) for group in ended for completion in group]
    # after the prompts' own pass, position t runs the rows that are longer than t
    assert batch_sizes[1:] == [sum(n > t for n in lengths) for t in range(1, max(lengths))]
    assert batch_sizes[-1] < batch_sizes[1]


def test_no_prompts_give_no_completions() -> None:
    assert draw([], SamplingSettings(2, 4)) == []


TOP_P = SamplingSettings(3, 12, temperature=0.8, top_p=0.6)


def test_greedy_sampling_has_no_nucleus() -> None:
    greedy = draw([0], SamplingSettings(1, 4, temperature=0.0, top_p=0.5))
    assert greedy == draw([0], SamplingSettings(1, 4, temperature=0.0))
    assert greedy[0][0].nucleus is None


def test_each_tokens_nucleus_is_recorded() -> None:
    for completion in (c for group in draw([0, 2], TOP_P, NEVER) for c in group):
        assert completion.nucleus is not None
        assert len(completion.nucleus) == len(completion.tokens) == 12
        assert all(token in ids for token, ids in zip(completion.tokens, completion.nucleus, strict=True))


def test_the_recorded_nucleus_is_that_of_the_models_distribution() -> None:
    (completion,) = draw([0], SamplingSettings(1, 4, temperature=0.8, top_p=0.6))[0]
    with torch.no_grad():
        logits = tiny_policy().model(input_ids=torch.tensor([PROMPTS[0] + completion.tokens])).logits[0]
    log_probs = (logits / 0.8).log_softmax(-1)[len(PROMPTS[0]) - 1 : -1]
    assert completion.nucleus == [row.nonzero()[:, 0].tolist() for row in nucleus_of(log_probs, 0.6)]


def test_without_top_p_no_nucleus_is_recorded() -> None:
    assert draw([0], SamplingSettings(1, 4))[0][0].nucleus is None


def test_under_top_p_completions_do_not_depend_on_batch_or_order() -> None:
    together = draw([0, 1, 2, 3, 4], TOP_P)
    other = draw([4, 2, 0, 3, 1], SamplingSettings(3, 12, 0.8, 0.6, rows_at_once=4))
    assert tokens(other) == [tokens(together)[i] for i in (4, 2, 0, 3, 1)]
    assert [[c.nucleus for c in group] for group in other] == [[c.nucleus for c in together[i]] for i in (4, 2, 0, 3, 1)]
    assert_close(sampled(other), sampled([together[i] for i in (4, 2, 0, 3, 1)]), rtol=0, atol=1e-4)  # other paddings


def test_entropies_are_recorded_one_per_token() -> None:
    for completion in (c for group in draw([0, 1], SamplingSettings(2, 12)) for c in group):
        assert len(completion.entropies) == len(completion.tokens)
        assert all(0 <= entropy <= math.log(300) for entropy in completion.entropies)


def test_prompt_and_completion_may_fill_the_models_context() -> None:
    (completion,) = sample(tiny_policy().model, SamplingRequest([[5] * 120], [0], SamplingSettings(1, 8), SEED, []))[0]
    assert len(completion.tokens) == 8


def test_a_prompt_that_would_run_past_the_models_context_is_refused() -> None:
    request = SamplingRequest([[5] * 3, [5] * 120], [0, 1], SamplingSettings(1, 9), SEED, [])
    with pytest.raises(ModelError, match="120 tokens and 9 new ones exceed the model's context of 128"):
        sample(tiny_policy().model, request)


def test_the_policys_own_engine_ends_at_its_end_of_sequence() -> None:
    policy, settings = tiny_policy(), SamplingSettings(2, 12)
    drawn = generate(policy, SamplingRequest(PROMPTS, ITEMS, settings, SEED, policy.ends))
    assert drawn == draw([0, 1, 2, 3, 4], settings, policy.end_of_sequence)
