"""How a server's log-probs are compared with ours."""

import math

import pytest
import torch
from torch.testing import assert_close

from ratchet.components.errors import EngineError
from ratchet.components.policy.engines.engine import SamplingRequest, SamplingSettings
from ratchet.components.policy.engines.plain import generate
from ratchet.components.policy.engines.vllm.probe import (
    Look,
    Mismatch,
    Update,
    check_look,
    check_update,
    groups_of,
    mismatch,
    sampled_log_probs,
    scored_log_probs,
)
from ratchet.components.policy.packing import Group
from tests.policy.engines.vllm.engines import PROMPTS, SEED
from tests.tiny_models import tiny_policy

FINE = Mismatch(0.012, 0.001)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.3, 0.8)])
def test_our_scorer_agrees_with_our_sampler_at_its_temperature_and_top_p(temperature: float, top_p: float) -> None:
    policy = tiny_policy()
    drawn = generate(policy, SamplingRequest(PROMPTS, range(4), SamplingSettings(2, 10, temperature, top_p), SEED, policy.ends))
    scored = scored_log_probs(policy, groups_of(PROMPTS, drawn), temperature, top_p)
    assert_close(sampled_log_probs(drawn), scored, rtol=0, atol=1e-4)


def test_a_drawn_token_at_the_nucleus_edge_has_a_finite_log_prob() -> None:
    policy = tiny_policy()
    rare = int(policy.model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1].argmin())
    assert math.isfinite(float(scored_log_probs(policy, [Group(PROMPTS[0], [[rare]])], 1.0, 0.5)))


def test_the_mismatch_of_log_probs_by_hand() -> None:
    found = mismatch(torch.tensor([-1.0, -2.0]), torch.tensor([-1.1, -1.8]))
    assert found.mean_abs == pytest.approx(0.15)
    # k3 with d = sampled - scored = 0.1, -0.2: exp(-d) - 1 + d
    assert found.k3 == pytest.approx((math.exp(-0.1) - 1 + 0.1 + math.exp(0.2) - 1 - 0.2) / 2)


@pytest.mark.parametrize(
    ("found", "small"),
    [(FINE, True), (Mismatch(0.06, 0.001), False), (Mismatch(0.01, 0.02), False), (Mismatch(math.nan, 0), False)],
)
def test_either_limit_counts(found: Mismatch, small: bool) -> None:
    assert found.small == small


NOTHING = torch.zeros(0)


def test_log_probs_from_before_the_temperature_are_recognised() -> None:
    check_look(Look([], FINE, 0.2, NOTHING))
    with pytest.raises(EngineError, match="processed_logprobs"):
        check_look(Look([], Mismatch(0.3, 0.1), 0.01, NOTHING))
    with pytest.raises(EngineError, match="are not this policy's"):
        check_look(Look([], Mismatch(0.3, 0.1), 0.5, NOTHING))


def test_an_update_is_seen_in_the_log_probs() -> None:
    check_update(Update(moved=0.1, new=FINE, old=0.1))
    check_update(Update(moved=0.001, new=FINE, old=0.0115))  # less than rounding: it cannot be told
    with pytest.raises(EngineError, match="still computes with the old weights"):
        check_update(Update(moved=0.03, new=Mismatch(0.03, 0.001), old=0.001))
    with pytest.raises(EngineError, match="other weights than it was given"):
        check_update(Update(moved=0.3, new=Mismatch(0.2, 0.1), old=0.4))
