"""From rollouts to per-token quantities, by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ratchet.components.recipe import Train
from ratchet.components.recipe.presets import PRESETS
from ratchet.components.training.experience import Experience, Scored, build_experience, completion_divergence
from ratchet.components.training.metrics import rollout_figures
from ratchet.components.training.rollouts import Rollouts
from tests.training.rollouts import completion, hand_made

TWO = [completion(-1.0, -2.0, -3.0), completion(-0.5)]
ZEROS = torch.zeros(2, 3)
STD = 0.5 / (0.5**0.5 + 1e-6)  # rewards 1 and 0: centred 1/2, variance 2 (1/2)^2 / 1 = 1/2
LIMIT = 10


def experience_of(rollouts: Rollouts, scored: Scored | None = None, kl_coefficient: float = 0.0, **values: Any) -> Experience:
    return build_experience(rollouts, scored or Scored(), Train(**values), kl_coefficient, LIMIT)


def grpo(rollouts: Rollouts, **values: Any) -> Experience:
    return experience_of(rollouts, algorithm="grpo", **{"kl": "none", **values})


def ppo(rollouts: Rollouts, values: Tensor = ZEROS, **recipe: Any) -> Experience:
    """Without KL, discount, decay and whitening, unless they are asked for."""
    plain = {"algorithm": "ppo", "kl": "none", "gae_lambda": 1.0, "whiten": False}
    return experience_of(rollouts, Scored(values=values), **{**plain, **recipe})


# The reward on the last own token, and what flows back from it.


def test_the_reward_of_ppo_is_earned_on_the_last_token() -> None:
    # values 0, gamma 1, lambda 1: the return of every token is the final reward
    experience = ppo(hand_made([1.0, 0.25], TWO))
    assert_close(experience.returns, torch.tensor([[1.0, 1.0, 1.0], [0.25, 0.0, 0.0]]))
    assert_close(experience.advantages, experience.returns)


def test_without_decay_only_the_last_token_sees_the_reward() -> None:
    # lambda 0: the advantage is delta = r + V' - V
    experience = ppo(hand_made([1.0, 0.0], TWO), torch.tensor([[0.5, 0.25, 0.75], [0.5, 9.0, 9.0]]), gae_lambda=0.0)
    assert_close(experience.advantages, torch.tensor([[-0.25, 0.5, 0.25], [-0.5, 0.0, 0.0]]))
    assert_close(experience.returns, torch.tensor([[0.25, 0.75, 1.0], [0.0, 0.0, 0.0]]))


def test_gae_discounts_and_decays_towards_the_front() -> None:
    # values 0: A_3 = 1, A_2 = 0.9 x 0.5 x 1, A_1 = 0.45 x 0.45
    experience = ppo(hand_made([1.0, 0.0], TWO), gamma=0.9, gae_lambda=0.5)
    assert_close(experience.advantages[0], torch.tensor([0.2025, 0.45, 1.0]))


def test_the_kl_of_ppo_is_paid_on_each_token() -> None:
    reference = torch.tensor([[-1.5, -2.0, -4.0], [-0.5, 0.0, 0.0]])  # d = 0.5, 0, 1
    recipe = {"algorithm": "ppo", "gae_lambda": 1.0, "whiten": False}
    experience = experience_of(hand_made([1.0, 0.0], TWO), Scored(reference, values=ZEROS), 0.1, **recipe)
    # rewards -0.05, 0, 1 - 0.1: returns 0.85, 0.9, 0.9
    assert_close(experience.returns[0], torch.tensor([0.85, 0.9, 0.9]))
    assert_close(experience.returns[1], torch.zeros(3))


def test_the_advantages_of_ppo_are_whitened_over_the_batch() -> None:
    experience = ppo(hand_made([1.0, 0.0], TWO), whiten=True, gae_lambda=0.95)
    inside = experience.advantages[experience.mask]
    assert_close(inside.mean(), torch.tensor(0.0))
    assert_close(inside.var(), torch.tensor(1.0))


def test_whitening_leaves_the_returns_alone() -> None:
    rollouts = hand_made([1.0, 0.0], TWO)
    assert_close(ppo(rollouts, whiten=True).returns, ppo(rollouts, whiten=False).returns)


def test_a_lambda_of_the_critics_own_moves_the_returns_and_not_the_advantages() -> None:
    rollouts = hand_made([1.0, 0.0], TWO)
    values = torch.tensor([[0.5, 0.25, 0.75], [0.5, 0.0, 0.0]])
    apart, together = ppo(rollouts, values, gae_lambda=0.0, value_lambda=1.0), ppo(rollouts, values, gae_lambda=0.0)
    assert_close(apart.advantages, together.advantages)
    assert_close(apart.returns[0], torch.tensor([1.0, 1.0, 1.0]))  # the reward itself
    assert_close(together.returns[0], torch.tensor([0.25, 0.75, 1.0]))  # the next value


def test_reinforce_whitens_returns_to_go_over_the_batch() -> None:
    # returns 1, 1, 1 and 0: mean 3/4, variance (3/16 + 9/16) / 3 = 1/4
    experience = experience_of(hand_made([1.0, 0.0], TWO), algorithm="reinforce_pp", kl="none")
    assert_close(experience.advantages, torch.tensor([[0.5, 0.5, 0.5], [-1.5, 0.0, 0.0]]))
    assert experience.returns is None


def test_reinforce_pays_the_kl_of_the_tokens_to_come() -> None:
    reference = torch.tensor([[-1.0, -2.5, -3.5], [-0.5, 0.0, 0.0]])  # d = 0, 0.5, 0.5
    experience = experience_of(hand_made([1.0, 0.5], TWO), Scored(reference), 0.5, algorithm="reinforce_pp")
    # returns to go 0.5, 0.5, 0.75 and 0.5: mean 9/16, squares 3 (1/16)^2 + (3/16)^2 = 3/64, variance 1/64
    assert_close(experience.advantages, torch.tensor([[-0.5, -0.5, 1.5], [-0.5, 0.0, 0.0]]), rtol=1e-4, atol=1e-4)


# Advantages of a whole completion, on each of its tokens.


@pytest.mark.parametrize(
    ("advantage", "expected"),
    [
        ("group_std", [STD, -STD]),
        ("group_mean", [0.5, -0.5]),
        ("leave_one_out", [1.0, -1.0]),  # the other's reward is the baseline
        ("group_mean_batch_std", [STD, -STD]),  # one group: the batch is the group
    ],
)
def test_a_groups_advantage_stands_on_each_of_its_tokens(advantage: str, expected: list[float]) -> None:
    experience = grpo(hand_made([1.0, 0.0], TWO), advantage=advantage)
    first, second = expected
    assert_close(experience.advantages, torch.tensor([[first, first, first], [second, 0.0, 0.0]]))
    assert experience.returns is None


def test_each_group_is_compared_within_itself() -> None:
    experience = grpo(hand_made([1.0, 0.0, 7.0, 5.0], [*TWO, *TWO], k=2), advantage="group_mean")
    assert_close(experience.advantages[:, 0], torch.tensor([0.5, -0.5, 1.0, -1.0]))


def test_the_kl_in_the_reward_is_the_sum_over_a_completion() -> None:
    reference = torch.tensor([[-1.0, -2.5, -3.5], [-0.5, 9.0, 9.0]])  # d = 0 + 0.5 + 0.5 = 1, and 0; padding is ignored
    experience = experience_of(hand_made([1.0, 0.5], TWO), Scored(reference), 0.5, kl="reward")
    assert torch.equal(experience.advantages, torch.zeros(2, 3))  # 1 - 0.5 x 1 = 0.5: equal rewards


def test_the_kl_coefficient_turns_the_order_of_two_completions_around() -> None:
    reference = torch.tensor([[-1.0, -2.5, -3.5], [-0.5, 0.0, 0.0]])
    experience = experience_of(hand_made([1.0, 0.5], TWO), Scored(reference), 1.0, kl="reward")  # 0 against 0.5
    assert_close(experience.advantages[:, 0], torch.tensor([-1, 1]) * 0.25 / (0.125**0.5 + 1e-6))


def test_the_kl_in_the_loss_leaves_the_reward_alone() -> None:
    experience = experience_of(hand_made([1.0, 0.0], TWO), Scored(torch.full((2, 3), -9.0)), 1.0, kl="loss")
    assert_close(experience.advantages[:, 0], torch.tensor([STD, -STD]))
    assert experience.reference_log_probs is not None


# Which tokens count.


@pytest.mark.parametrize("algorithm", PRESETS)
def test_a_completion_without_reward_is_masked_out_whole(algorithm: str) -> None:
    rollouts = hand_made([1.0, None, 0.0], [*TWO, completion(-1.0, -1.0)])
    scored = Scored(torch.full((3, 3), -2.0), values=torch.ones(3, 3))
    experience = experience_of(rollouts, scored, 0.1, algorithm=algorithm)
    assert experience.mask.sum(1).tolist() == [3, 0, 2]
    assert torch.equal(experience.advantages[1], torch.zeros(3))
    assert experience.advantages.isfinite().all()
    assert experience.returns is None or torch.equal(experience.returns[1], torch.zeros(3))


def test_a_missing_reward_is_no_part_of_the_baseline() -> None:
    experience = grpo(hand_made([1.0, None, 0.0], [*TWO, completion(-1.0, -1.0)]))
    assert_close(experience.advantages[:, 0], torch.tensor([STD, 0.0, -STD]))


@pytest.mark.parametrize("algorithm", PRESETS)
def test_without_any_reward_nothing_counts(algorithm: str) -> None:
    scored = Scored(torch.full((2, 3), -2.0), values=torch.ones(2, 3))
    experience = experience_of(hand_made([None, None], TWO), scored, 0.1, algorithm=algorithm)
    assert not experience.mask.any()
    assert torch.equal(experience.advantages, ZEROS)


CUT = [completion(*[-1.0] * 9), completion(*[-1.0] * 10, finished=False)]  # of 9 and 10 of at most 10 tokens


def test_an_overlong_completion_counts_where_it_is_kept() -> None:
    experience = grpo(hand_made([1.0, 0.0], CUT))
    assert experience.mask.sum(1).tolist() == [9, 10]
    assert_close(experience.advantages[:, 0], torch.tensor([STD, -STD]))


def test_an_overlong_completion_that_is_masked_teaches_nothing_but_is_still_compared_with() -> None:
    experience = grpo(hand_made([1.0, 0.0], CUT), sampling={"overlong": "mask"})
    assert experience.mask.sum(1).tolist() == [9, 0]
    assert_close(experience.advantages[:, 0], torch.tensor([STD, 0.0]))


def test_the_overlong_penalty_is_added_to_the_reward() -> None:
    # a buffer of 0.4 x 10 tokens: none up to 6, -3/4 at 9, -1 at 10; rewards 1/4 and -1, centred on -3/8
    sampling = {"overlong": "penalty", "overlong_buffer": 0.4}
    experience = grpo(hand_made([1.0, 0.0], CUT), sampling=sampling, advantage="group_mean")
    assert_close(experience.advantages[:, 0], torch.tensor([0.625, -0.625]))
    assert experience.mask.sum(1).tolist() == [9, 10]


def test_the_overlong_penalty_does_not_give_a_missing_reward_back() -> None:
    sampling = {"overlong": "penalty", "overlong_buffer": 0.4}
    experience = grpo(hand_made([None, 0.0], CUT), sampling=sampling)
    assert not experience.advantages.any()
    assert experience.mask.sum(1).tolist() == [0, 10]


def test_a_buffer_is_at_least_one_token() -> None:
    sampling = {"overlong": "penalty", "overlong_buffer": 0.01}
    experience = grpo(hand_made([1.0, 1.0], CUT), sampling=sampling, advantage="group_mean")
    assert_close(experience.advantages[:, 0], torch.tensor([0.5, -0.5]))  # 0 at 9 tokens, -1 at 10


# Whose log-probs.


def test_the_samplers_log_probs_are_the_old_ones_where_they_are_exact() -> None:
    rollouts = hand_made([1.0, 0.0], TWO)
    experience = grpo(rollouts)
    assert torch.equal(experience.old_log_probs, rollouts.log_probs)
    assert experience.correction is None


def test_the_trainers_log_probs_are_the_old_ones_where_it_scored_them() -> None:
    trainer = torch.tensor([[-1.0, -2.5, -1.0], [-0.25, 0.0, 0.0]])
    experience = experience_of(hand_made([1.0, 0.0], TWO), Scored(trainer_log_probs=trainer), kl="none")
    assert torch.equal(experience.old_log_probs, trainer)


def test_the_correction_is_the_ratio_of_trainer_to_sampler_up_to_its_cap() -> None:
    trainer = torch.tensor([[-1.0, -2.5, -1.0], [-0.25, 0.0, 0.0]])  # minus the sampler's: 0, -0.5, 2, 0.25
    loss = {"correction": "truncated", "correction_cap": 1.5}
    experience = experience_of(hand_made([1.0, 0.0], TWO), Scored(trainer_log_probs=trainer), kl="none", loss=loss)
    assert experience.correction is not None
    assert_close(experience.correction[experience.mask], torch.tensor([0.0, -0.5, 9.0, 0.25]).exp().clamp(max=1.5))


def test_the_divergence_is_nats_a_completion_that_counts() -> None:
    reference = torch.tensor([[-1.5, -2.0, -4.0], [-1.0, 9.0, 9.0], [-9.0, -9.0, 9.0]])
    rollouts = hand_made([1.0, 0.0, None], [*TWO, completion(-1.0, -1.0)])
    experience = experience_of(rollouts, Scored(reference), kl="loss")
    assert completion_divergence(experience) == pytest.approx(1.0)  # (0.5 + 0 + 1 and 0.5) / 2


def test_where_nothing_counts_the_divergence_is_zero() -> None:
    experience = experience_of(hand_made([None, None], TWO), Scored(torch.full((2, 3), -9.0)), kl="loss")
    assert completion_divergence(experience) == 0


# From scores to advantages, no reward loses its difference from the others.


TWO = [completion(-1.0, -2.0, -3.0), completion(-0.5)]


def advantages(rollouts: Rollouts, algorithm: str) -> torch.Tensor:
    scored = Scored(values=torch.zeros(2, 3)) if algorithm == "ppo" else Scored()
    return build_experience(rollouts, scored, Train(algorithm=algorithm, kl="none"), 0.0, 10).advantages


@pytest.mark.parametrize("algorithm", ["grpo", "reinforce_pp", "ppo", "rloo"])
def test_a_small_difference_of_large_rewards_is_learned_from(algorithm: str) -> None:
    # In float32 16777217 is 16777216, and the group would be silent.
    found = advantages(hand_made([16777217.0, 16777216.0], TWO), algorithm)
    assert found.dtype == torch.float32
    assert float(found[0, 2]) > float(found[1, 0])


@pytest.mark.parametrize("algorithm", ["grpo", "reinforce_pp"])
def test_normalised_advantages_are_the_same_at_any_size(algorithm: str) -> None:
    small, large = (advantages(hand_made([scale, -scale], TWO), algorithm) for scale in (1.0, 1e12))
    torch.testing.assert_close(large, small, rtol=1e-4, atol=1e-4)


def test_figures_of_large_rewards_and_parts_are_finite() -> None:
    figures = rollout_figures(hand_made([1e25, -1e25], TWO))
    assert figures["reward_std"] == pytest.approx(math.sqrt(2) * 1e25)
    assert figures["rewards/toy/std"] == pytest.approx(math.sqrt(2) * 1e25)
