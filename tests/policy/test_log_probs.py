"""Scores of completion tokens."""

import math

import pytest
import torch
from torch.testing import assert_close

from components.policy.log_probs import completion_log_probs, score_tokens
from components.policy.packing import Group, pack
from tests.tiny_models import tiny_policy

GROUPS = [Group([5, 6], [[7, 8, 1], [9, 1]]), Group([10], [[11, 12]])]


def logits_of(prompt: list[int], completion: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return tiny_policy().model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_scores_are_at_the_sampling_temperature(temperature: float) -> None:
    scores = score_tokens(tiny_policy().model, pack([Group([5, 6], [[7, 8]])]), temperature).log_probs
    expected = (logits_of([5, 6], [7, 8]) / temperature).log_softmax(-1)
    assert_close(scores.detach(), torch.stack([expected[0, 7], expected[1, 8]]), rtol=0, atol=1e-4)  # other kernels


def test_entropy_lies_between_zero_and_that_of_the_uniform() -> None:
    entropy = score_tokens(tiny_policy().model, pack(GROUPS), 0.1).entropy
    assert (entropy >= 0).all()
    assert (entropy <= math.log(300)).all()


def test_equal_logits_have_the_entropy_of_the_uniform() -> None:
    model = tiny_policy().model
    model.get_output_embeddings().weight.data.zero_()
    scores = score_tokens(model, pack(GROUPS))
    assert_close(scores.entropy, torch.full((7,), math.log(300)))
    assert_close(scores.log_probs.detach(), torch.full((7,), -math.log(300)))


def test_no_gradient_flows_through_the_entropy() -> None:
    scores = score_tokens(tiny_policy().model, pack(GROUPS))
    assert scores.log_probs.requires_grad
    assert not scores.entropy.requires_grad


@pytest.mark.parametrize("groups_at_once", [1, 256])
def test_a_completions_log_prob_is_the_sum_over_its_tokens(groups_at_once: int) -> None:
    totals = completion_log_probs(tiny_policy(), GROUPS, groups_at_once)
    pairs = [(g.prompt, c) for g in GROUPS for c in g.completions]
    expected = [float(logits_of(p, c).log_softmax(-1).gather(-1, torch.tensor(c)[:, None]).sum()) for p, c in pairs]
    assert totals == pytest.approx(expected, abs=1e-3)  # sums of fp32 log-probs near -10
