"""Sampling: right distribution, right log-probs, and nothing depends on the batch."""

import numpy as np
import pytest
import torch
from scipy import stats

from components.policy.log_probs import score_tokens
from components.policy.packing import Group, pack
from components.policy.sampling import Completion, SamplingSeed, SamplingSettings, choose, sample
from tests.tiny_models import tiny_policy

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14], [15, 16], [17, 18, 19]]  # unequal lengths
ITEMS = [3, 1, 4, 15, 9]
SEED = SamplingSeed(7, "test", 2)
NEVER = -1  # an end-of-sequence that no token equals


def draw(numbers: list[int], settings: SamplingSettings, end: int = 1, seed: SamplingSeed = SEED) -> list[list[Completion]]:
    return sample(tiny_policy().model, [PROMPTS[i] for i in numbers], [ITEMS[i] for i in numbers], settings, seed, end)


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


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_the_samplers_log_probs_are_those_of_scoring(temperature: float) -> None:
    results = draw([0, 1, 2, 3, 4], SamplingSettings(3, 12, temperature))
    groups = [Group(prompt, [c.tokens for c in group]) for prompt, group in zip(PROMPTS, results, strict=True)]
    rows = pack(groups)
    sampled = torch.tensor([p for group in results for c in group for p in c.log_probs])
    order = np.lexsort((rows.index.numpy(), rows.sequence.numpy()))
    scored = score_tokens(tiny_policy().model, rows, temperature).log_probs.detach()[torch.from_numpy(order)]
    torch.testing.assert_close(sampled, scored, rtol=0, atol=1e-4)  # cached against packed attention, fp32


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
    ended = sample(model, PROMPTS, ITEMS, SamplingSettings(2, 6), SEED, end)
    lengths = [len(completion.tokens) for group in ended for completion in group]
    # after the prompts' own pass, position t runs the rows that are longer than t
    assert batch_sizes[1:] == [sum(n > t for n in lengths) for t in range(1, max(lengths))]
    assert batch_sizes[-1] < batch_sizes[1]


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0])
    draws = torch.from_numpy(np.random.default_rng(0).random(20_000))
    chosen, _ = choose(logits.expand(20_000, 5), draws, 1.0)
    counts = torch.bincount(chosen, minlength=5).numpy()
    expected = logits.double().softmax(0).numpy() * 20_000
    assert stats.chisquare(counts, expected).pvalue > 0.001


def test_temperature_sharpens_the_drawn_distribution() -> None:
    logits = torch.tensor([0.0, 1.0])
    draws = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000  # evenly spread: counts are exact to one
    chosen, log_probs = choose(logits.expand(1000, 2), draws, 0.5)
    share = (logits / 0.5).softmax(0)[1]  # e^2 / (1 + e^2) = 0.881
    assert int(chosen.sum()) == pytest.approx(1000 * float(share), abs=1)
    torch.testing.assert_close(log_probs[chosen == 1][0], share.log())


@pytest.mark.parametrize("where", [0.0, 0.5, 1 - 2**-53])
def test_a_token_without_probability_is_never_drawn(where: float) -> None:
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf, 1.0, -torch.inf]])
    chosen, _ = choose(logits, torch.tensor([where], dtype=torch.float64), 1.0)
    assert int(chosen) in (1, 3)


def test_no_prompts_give_no_completions() -> None:
    assert draw([], SamplingSettings(2, 4)) == []
