"""From scores to advantages, no reward loses its difference from the others."""

import math

import pytest
import torch

from ratchet.components.recipe import Train
from ratchet.components.training.experience import Scored, build_experience
from ratchet.components.training.figures import rollout_figures
from ratchet.components.training.rollouts import Rollouts
from tests.training.rollouts import completion, hand_made

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
