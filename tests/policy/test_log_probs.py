"""Scores of completion tokens."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ratchet.components.policy.engines.engine import SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.plain import generate, sample
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import (
    Nucleus,
    completion_log_probs,
    completion_scores,
    hidden_states,
    most_likely,
    score_hidden,
    score_tokens,
)
from ratchet.components.policy.packing import Group, pack
from tests.policy.scoring import groups_of, nucleus_in, order_of, packed, sampled
from tests.tiny_models import same, tiny_policy, tiny_tokenizer, weights

GROUPS = [Group([5, 6], [[7, 8, 1], [9, 1]]), Group([10], [[11, 12]])]
PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14]]
VOCABULARY = 300
HIDDEN = torch.randn(7, 32, generator=torch.Generator().manual_seed(0))  # of the 7 tokens of GROUPS


def logits_of(prompt: Sequence[int], completion: Sequence[int]) -> Tensor:
    with torch.no_grad():
        return tiny_policy().model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]


def in_nuclei(nuclei: Sequence[Sequence[int]]) -> Nucleus:
    numbers = [number for number, ids in enumerate(nuclei) for _ in ids]
    return Nucleus(torch.tensor(numbers), torch.tensor([i for ids in nuclei for i in ids]))


# Those of GROUPS: each holds its target.
NUCLEI = in_nuclei([[7, 20], [8], [1, 30, 31], [9, 40], [1, 2], [11, 12, 13, 14], [12, 50]])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_scores_are_at_the_sampling_temperature(temperature: float) -> None:
    scores = score_tokens(tiny_policy().model, pack([Group([5, 6], [[7, 8]])]), temperature)
    expected = (logits_of([5, 6], [7, 8]) / temperature).log_softmax(-1)
    assert_close(scores.detach(), torch.stack([expected[0, 7], expected[1, 8]]), rtol=0, atol=1e-4)  # other kernels


def test_equal_logits_give_every_token_the_same_probability() -> None:
    model = tiny_policy().model
    model.get_output_embeddings().weight.data.zero_()
    assert_close(score_tokens(model, pack(GROUPS)).detach(), torch.full((7,), -math.log(VOCABULARY)))


def test_in_a_nucleus_the_others_share_is_gone() -> None:
    scores = score_tokens(tiny_policy().model, pack([Group([5, 6], [[7, 8]])]), 0.5, in_nuclei([[7, 20, 30], [8]]))
    left = (logits_of([5, 6], [7, 8])[0, [7, 20, 30]] / 0.5).log_softmax(-1)
    assert_close(scores.detach(), torch.stack([left[0], torch.tensor(0.0)]), rtol=0, atol=1e-4)


def test_a_token_outside_its_nucleus_has_probability_zero() -> None:
    scores = score_tokens(tiny_policy().model, pack([Group([5, 6], [[7]])]), nucleus=in_nuclei([[8, 9]]))
    assert scores.tolist() == [-math.inf]


def test_no_gradient_reaches_tokens_outside_every_nucleus() -> None:
    model = tiny_policy().model
    targets = pack(GROUPS).targets
    (by_token,) = torch.autograd.grad(
        score_hidden(model, HIDDEN, targets, nucleus=NUCLEI).sum(), [model.get_output_embeddings().weight]
    )
    assert set(by_token.abs().sum(-1).nonzero()[:, 0].tolist()) == set(NUCLEI.kept.tolist()) - {8}  # 8 is alone: certain


def test_logits_are_capped_where_the_model_caps_them() -> None:
    model = tiny_policy().model
    model.config.final_logit_softcapping = 2.0
    scores = score_hidden(model, HIDDEN, pack(GROUPS).targets, temperature=0.5)
    logits = torch.tanh(HIDDEN @ model.get_output_embeddings().weight.T / 2.0) * 2.0 / 0.5  # capped, then the temperature
    assert_close(scores, logits.log_softmax(-1).gather(-1, pack(GROUPS).targets[:, None])[:, 0])


@pytest.mark.parametrize("nucleus", [None, NUCLEI], ids=["all tokens", "nucleus"])
@pytest.mark.parametrize("at_once", [1, VOCABULARY, 3 * VOCABULARY, 7 * VOCABULARY - 1])
def test_a_head_in_chunks_gives_the_same_scores_and_gradients(at_once: int, nucleus: Nucleus | None) -> None:
    model, targets = tiny_policy().model, pack(GROUPS).targets
    hidden = HIDDEN.clone().requires_grad_()

    def scored(limit: int) -> list[Tensor]:
        scores = score_hidden(model, hidden, targets, 0.7, nucleus, limit)
        weighted = (scores * torch.linspace(-1, 1, 7)).sum()
        return [scores, *torch.autograd.grad(weighted, [hidden, model.get_output_embeddings().weight])]

    for chunked, whole in zip(scored(at_once), scored(7 * VOCABULARY), strict=True):
        assert_close(chunked, whole)


@pytest.mark.parametrize("nucleus", [None, NUCLEI], ids=["all tokens", "nucleus"])
@pytest.mark.parametrize("at_once", [7 * VOCABULARY, 3 * VOCABULARY + 5, VOCABULARY])
def test_no_more_logits_than_allowed_are_made_at_a_time(
    monkeypatch: pytest.MonkeyPatch, at_once: int, nucleus: Nucleus | None
) -> None:
    found, linear = [], torch.nn.functional.linear

    def counted(*arguments: Any) -> Tensor:
        logits = linear(*arguments)
        found.append(logits.numel())
        return logits

    monkeypatch.setattr(torch.nn.functional, "linear", counted)
    hidden = HIDDEN.clone().requires_grad_()
    scores = score_hidden(tiny_policy().model, hidden, pack(GROUPS).targets, nucleus=nucleus, logits_at_once=at_once)
    assert sum(found) == 7 * VOCABULARY
    scores.sum().backward()
    assert sum(found) == 7 * VOCABULARY * (1 if at_once == 7 * VOCABULARY else 2)  # if all are made at once, they are kept
    assert max(found) <= at_once


@pytest.mark.parametrize("at_once", [5 * VOCABULARY, 10_000 * VOCABULARY], ids=["chunked", "whole"])
@pytest.mark.parametrize(("temperature", "top_p"), [(0.7, 1.0), (1.0, 0.6), (0.7, 0.6), (2.0, 0.9)])
def test_scores_are_the_samplers_under_temperature_and_top_p(temperature: float, top_p: float, at_once: int) -> None:
    model = tiny_policy().model
    settings = SamplingSettings(3, 12, temperature, top_p)
    drawn = sample(model, SamplingRequest(PROMPTS, [3, 1, 4], settings, SamplingSeed(7, "test"), []))
    rows = pack(groups_of(PROMPTS, drawn), row_tokens=32)  # several groups in no order
    nucleus = nucleus_in(rows, drawn) if top_p < 1 else None
    with torch.no_grad():
        scores = score_hidden(model, hidden_states(model.base_model, rows), rows.targets, temperature, nucleus, at_once)
    assert_close(scores[order_of(rows)], sampled(drawn), rtol=0, atol=1e-4)  # cached against packed attention, fp32


@pytest.mark.parametrize("groups_at_once", [1, 256])
def test_a_completions_log_prob_is_the_sum_over_its_tokens(groups_at_once: int) -> None:
    totals = completion_log_probs(tiny_policy(), GROUPS, groups_at_once)
    pairs = [(g.prompt, c) for g in GROUPS for c in g.completions]
    expected = [float(logits_of(p, c).log_softmax(-1).gather(-1, torch.tensor(c)[:, None]).sum()) for p, c in pairs]
    assert totals == pytest.approx(expected, abs=1e-3)  # sums of fp32 log-probs near -10


def low_precision(device: str = "cpu") -> Policy:
    return Policy(tiny_policy(layers=2).model.to(device), tiny_tokenizer(), precision="bf16")


def test_bf16_scores_are_near_those_of_fp32() -> None:
    policy = low_precision()
    exact = packed(policy.model, GROUPS).detach()
    with policy.autocast(), torch.no_grad():
        scores = packed(policy.model, GROUPS)
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, exact)
    assert_close(scores, exact, rtol=0, atol=0.1)  # bf16 has 8 bits: 0.4% of logits of up to 5, through two layers


def test_bf16_sampling_agrees_with_bf16_scoring() -> None:
    policy = low_precision()
    drawn = generate(policy, SamplingRequest(PROMPTS, [3, 1, 4], SamplingSettings(3, 12), SamplingSeed(7, "test"), policy.ends))
    with policy.autocast(), torch.no_grad():
        scores = packed(policy.model, groups_of(PROMPTS, drawn))
    assert_close(sampled(drawn), scores, rtol=0, atol=0.1)
    assert float((sampled(drawn) - scores).mean()) == pytest.approx(0, abs=0.01)  # no bias, which a ratio would show


def test_a_bf16_step_leaves_weights_and_gradients_in_fp32() -> None:
    policy = low_precision()
    before = weights(policy.model)
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=1e-6)  # lost in bf16, whose steps are 1e-3 near 0.2
    with policy.autocast():
        loss = -score_tokens(policy.model, pack(GROUPS)).sum()
    loss.backward()
    optimizer.step()
    assert {p.dtype for p in policy.model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in policy.model.parameters() if p.grad is not None} == {torch.float32}
    assert not same(weights(policy.model), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_on_cuda_bf16_sampling_agrees_with_bf16_scoring(top_p: float) -> None:
    policy = low_precision("cuda")
    settings = SamplingSettings(3, 12, 0.7, top_p)
    drawn = generate(policy, SamplingRequest(PROMPTS, [3, 1, 4], settings, SamplingSeed(7, "test"), policy.ends))
    rows = pack(groups_of(PROMPTS, drawn))
    nucleus = Nucleus(*(part.cuda() for part in nucleus_in(rows, drawn))) if top_p < 1 else None
    with policy.autocast(), torch.no_grad():
        scores = score_tokens(policy.model, rows.to(torch.device("cuda")), 0.7, nucleus).cpu()
    assert_close(sampled(drawn), scores[order_of(rows)], rtol=0, atol=0.2)  # logits divided by 0.7, other kernels


def test_a_completion_is_greedy_if_each_of_its_tokens_is_the_likeliest() -> None:
    policy, prompt = tiny_policy(), [5, 6]
    request = SamplingRequest([prompt], [0], SamplingSettings(1, 4, 0.0), SamplingSeed(0, ""), policy.ends)
    ((drawn,),) = generate(policy, request)
    wrong = [*drawn.tokens[:-1], drawn.tokens[-1] + 1]
    groups = [Group(prompt, [drawn.tokens, wrong]), *GROUPS]
    scores = completion_scores(policy, groups, groups_at_once=2)
    assert [score for score, _ in scores] == pytest.approx(completion_log_probs(policy, groups), abs=1e-4)
    assert [greedy for _, greedy in scores[:2]] == [True, False]


def test_the_likeliest_tokens_do_not_depend_on_how_many_are_looked_at_together() -> None:
    model = tiny_policy().model
    assert most_likely(model, HIDDEN, VOCABULARY).tolist() == model.lm_head(HIDDEN).argmax(-1).tolist()
