"""From rollouts to per-token quantities, by hand."""

import pytest
import torch
from torch.testing import assert_close

from components.errors import RewardError
from components.policy.sampling import SamplingSeed, SamplingSettings
from components.rewards.protocol import Score
from components.training.experience import critic_experience, group_experience, roll_out, rollout_metrics
from tests.tiny_models import tiny_policy
from tests.training.rollouts import completion, hand_made

TWO = [completion(-1.0, -2.0, -3.0), completion(-0.5)]
HALF = 0.5 / (0.5**0.5 + 1e-6)  # rewards 1 and 0: centred 0.5, variance 2 (1/2)^2 / 1 = 1/2


def test_padding_marks_each_completions_own_tokens() -> None:
    log_probs, mask = hand_made([1.0, 0.0], TWO).padded()
    assert log_probs.tolist() == [[-1.0, -2.0, -3.0], [-0.5, 0.0, 0.0]]
    assert mask.tolist() == [[True, True, True], [True, False, False]]


def test_a_groups_advantage_stands_on_each_of_its_tokens() -> None:
    experience = group_experience(hand_made([1.0, 0.0], TWO), None, 0.0)
    assert_close(experience.advantages, torch.tensor([[HALF, HALF, HALF], [-HALF, 0.0, 0.0]]))


def test_the_kl_in_the_reward_is_the_sum_over_a_completion() -> None:
    reference = torch.tensor([[-1.0, -2.5, -3.5], [-0.5, 9.0, 9.0]])  # d = 0 + 0.5 + 0.5 = 1, and 0; padding is ignored
    experience = group_experience(hand_made([1.0, 0.5], TWO), reference, 0.5)
    assert torch.equal(experience.advantages, torch.zeros(2, 3))  # 1 - 0.5 x 1 = 0.5: equal rewards


def test_the_kl_coefficient_turns_the_order_of_two_completions_around() -> None:
    reference = torch.tensor([[-1.0, -2.5, -3.5], [-0.5, 0.0, 0.0]])
    experience = group_experience(hand_made([1.0, 0.5], TWO), reference, 1.0)  # 0 against 0.5
    assert_close(experience.advantages[:, 0], torch.tensor([-1, 1]) * 0.25 / (0.125**0.5 + 1e-6))


def test_a_completion_without_reward_has_no_advantage() -> None:
    three = [*TWO, completion(-1.0, -1.0)]
    experience = group_experience(hand_made([1.0, None, 0.0], three), None, 0.0)
    assert_close(experience.advantages[:, 0], torch.tensor([HALF, 0.0, -HALF]))


def test_the_reward_of_ppo_is_earned_on_the_last_token() -> None:
    # values 0, gamma 1, lambda 1: the return of every token is the final reward
    experience = critic_experience(hand_made([1.0, 0.25], TWO), torch.zeros(2, 3), None, 0.0, 1.0, 1.0)
    assert_close(experience.returns, torch.tensor([[1.0, 1.0, 1.0], [0.25, 0.0, 0.0]]))


def test_the_kl_of_ppo_is_paid_on_each_token() -> None:
    reference = torch.tensor([[-1.5, -2.0, -4.0], [-0.5, 0.0, 0.0]])  # d = 0.5, 0, 1
    experience = critic_experience(hand_made([1.0, 0.0], TWO), torch.zeros(2, 3), reference, 0.1, 1.0, 1.0)
    # rewards -0.05, 0, 1 - 0.1: returns 0.85, 0.9, 0.9
    assert_close(experience.returns[0], torch.tensor([0.85, 0.9, 0.9]))


def test_the_advantages_of_ppo_are_whitened_over_the_batch() -> None:
    experience = critic_experience(hand_made([1.0, 0.0], TWO), torch.zeros(2, 3), None, 0.0, 1.0, 0.95)
    inside = experience.advantages[experience.mask]
    assert_close(inside.mean(), torch.tensor(0.0))
    assert_close(inside.var(), torch.tensor(1.0))


def test_ppo_masks_a_completion_without_reward_out() -> None:
    experience = critic_experience(hand_made([None, 1.0], TWO), torch.ones(2, 3), None, 0.0, 1.0, 1.0)
    assert not experience.mask[0].any()
    assert torch.equal(experience.advantages[0], torch.zeros(3))
    assert torch.equal(experience.returns[0], torch.zeros(3))


def test_figures_of_a_rollout() -> None:
    completions = [*TWO, completion(-1.0, -1.0, finished=False)]
    figures = rollout_metrics(hand_made([1.0, None, 0.0], completions))
    assert figures["reward"] == 0.5
    assert figures["reward_std"] == pytest.approx(0.5**0.5)
    assert figures["frac_reward_missing"] == pytest.approx(1 / 3)
    assert figures["frac_reward_zero_std"] == 0
    assert figures["completions/mean_length"] == 2  # (3 + 1 + 2) / 3
    assert figures["completions/clipped_ratio"] == pytest.approx(1 / 3)
    assert figures["num_tokens"] == 6


def test_a_rewards_parts_are_averaged_where_they_are_given() -> None:
    first_missing = rollout_metrics(hand_made([None, 1.0], TWO))
    assert first_missing["rewards/toy/mean"] == 1
    assert rollout_metrics(hand_made([0.5, None], TWO))["rewards/toy/mean"] == 0.5


def test_a_rollout_without_any_reward_has_finite_figures() -> None:
    figures = rollout_metrics(hand_made([None, None], TWO))
    assert figures["reward"] == figures["reward_std"] == 0
    assert figures["frac_reward_zero_std"] == 1


def test_a_rollout_scores_each_sample_with_its_own_row() -> None:
    seen: list[tuple[str, str]] = []

    def reward(prompts, completions, rows):  # type: ignore[no-untyped-def]
        seen.extend(zip(prompts, [row["answer"] for row in rows], strict=True))
        return [Score(float(i), {}) for i in range(len(completions))]

    rows = [{"prompt": "a", "answer": "1"}, {"prompt": "bb", "answer": "2"}]
    rollouts = roll_out(tiny_policy(), rows, [0, 1], SamplingSettings(2, 3), SamplingSeed(0, "test"), reward)
    assert seen == [("a", "1"), ("a", "1"), ("bb", "2"), ("bb", "2")]
    assert rollouts.rewards.tolist() == [[0.0, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize("returned", [[], [Score(1.0, {})] * 3, [Score(float("inf"), {})] * 2, [Score("1", {})] * 2])
def test_a_reward_that_breaks_its_protocol_ends_the_rollout(returned: list[Score]) -> None:
    with pytest.raises(RewardError):
        roll_out(tiny_policy(), [{"prompt": "a"}], [0], SamplingSettings(2, 3), SamplingSeed(0, "test"), lambda *_: returned)
