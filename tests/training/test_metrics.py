"""What is shown of a step, by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ratchet.components.graders.protocol import Grade
from ratchet.components.policy.engines.engine import Completion
from ratchet.components.recipe import Train
from ratchet.components.training.experience import Experience, Scored, build_experience
from ratchet.components.training.metrics import (
    distinct_2,
    experience_figures,
    identical_and_wrong,
    length_correlation,
    rollout_figures,
    sample_rows,
    unsolved_zero_variance,
)
from ratchet.components.training.rollouts import PromptRollout, Rollouts
from tests.training.rollouts import completion, hand_made

TWO = [completion(-1.0, -2.0, -3.0), completion(-0.5)]
THREE = [*TWO, completion(-1.0, -1.0, finished=False)]
LOG2 = 0.6931471805599453


def experience_of(rewards: list[float | None], **recipe: object) -> Experience:
    return build_experience(hand_made(rewards, TWO), Scored(), Train(**{"kl": "none", **recipe}), 0.0, 10)


# Of rollouts.


def test_rewards_are_averaged_without_the_missing() -> None:
    figures = rollout_figures(hand_made([1.0, None, 0.0], THREE))
    assert figures["reward"] == 0.5
    assert figures["reward_std"] == pytest.approx(0.5**0.5)
    assert figures["frac_reward_missing"] == pytest.approx(1 / 3)


def test_lengths_are_over_all_completions_and_over_those_that_ended() -> None:
    figures = rollout_figures(hand_made([1.0, None, 0.0], THREE))
    assert [figures[f"completions/{name}_length"] for name in ("mean", "min", "max")] == [2, 1, 3]
    assert figures["completions/clipped_ratio"] == pytest.approx(1 / 3)
    assert figures["completions/mean_terminated_length"] == 2  # (3 + 1) / 2; the cut one has 2 tokens


def test_where_every_completion_was_cut_none_has_ended() -> None:
    figures = rollout_figures(hand_made([1.0], [completion(-1.0, finished=False)]))
    assert figures["completions/clipped_ratio"] == 1
    assert "completions/mean_terminated_length" not in figures


def test_zero_variance_groups_are_a_share_of_the_groups() -> None:
    figures = rollout_figures(silent())
    assert figures["frac_reward_zero_std"] == pytest.approx(2 / 3)


def silent() -> Rollouts:
    """Three groups: a signal, equal rewards, one reward."""
    return hand_made([1.0, 0.0, 0.5, 0.5, None, 1.0], TWO * 3, k=2)


def test_the_entropy_is_the_mean_over_all_tokens() -> None:
    completions = [Completion([20, 21], [-1.0, -1.0], True, [1.0, 2.0]), Completion([20], [-1.0], True, [6.0])]
    assert rollout_figures(hand_made([1.0, 0.0], completions))["entropy"] == 3


def test_an_engine_without_entropies_shows_none() -> None:
    assert "entropy" not in rollout_figures(hand_made([1.0, 0.0], TWO))


def test_a_rewards_parts_are_averaged_where_they_are_given() -> None:
    figures = rollout_figures(hand_made([None, 1.0, 0.5], THREE))
    assert figures["rewards/toy/mean"] == 0.75
    assert figures["rewards/toy/std"] == pytest.approx(2**0.5 / 4)  # deviations of 1/4: sqrt(2/16)
    assert rollout_figures(hand_made([0.5, None], TWO))["rewards/toy/mean"] == 0.5


def test_a_rollout_without_any_reward_has_finite_figures() -> None:
    figures = rollout_figures(hand_made([None, None], TWO))
    assert figures["reward"] == figures["reward_std"] == 0
    assert figures["frac_reward_zero_std"] == figures["frac_reward_missing"] == 1


def test_the_accuracy_is_that_of_the_answers_whatever_the_reward() -> None:
    row = {"prompt": "p", "answer": "7"}
    texts = ["it is #### 7", "#### 8", "no answer", "#### 7"]
    group = PromptRollout(row, [5], [completion(-1.0)] * 4, texts, [Grade(0.0, {})] * 4)
    assert rollout_figures(Rollouts([group]))["accuracy"] == 0.5


def test_the_accuracy_is_the_golds_mean_score_and_right_what_it_passes() -> None:
    texts = ["a", "b", "b", "c"]
    scores = {"a": Grade(1.0, passed=True), "b": Grade(0.25, passed=False), "c": Grade(0.5, passed=True)}
    group = PromptRollout({"prompt": "p"}, [5], [completion(-1.0)] * 4, texts, [Grade(0.0)] * 4)
    figures = rollout_figures(Rollouts([group]), lambda prompts, completions, rows: [scores[text] for text in completions])
    assert figures["accuracy"] == 0.5
    assert figures["completions/identical_wrong"] == 0.5  # both b


def test_a_reward_that_is_the_gold_has_graded_already() -> None:
    grades = [Grade(0.75, passed=True), Grade(0.25, passed=False)]
    group = PromptRollout({"prompt": "p"}, [5], [completion(-1.0)] * 2, ["a", "b"], grades)
    assert rollout_figures(Rollouts([group]), None)["accuracy"] == 0.5


def test_a_group_with_a_fault_of_the_gold_is_left_out() -> None:
    def gold(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Any]) -> list[Grade]:
        return [Grade(None, fault="timeout") if text == "b" else Grade(1.0, passed=True) for text in completions]

    broken, good = (
        PromptRollout({"prompt": "p"}, [5], [completion(-1.0)] * 2, texts, [Grade(0.0)] * 2)
        for texts in (["a", "b"], ["a", "a"])
    )
    assert rollout_figures(Rollouts([broken, good]), gold)["accuracy"] == 1.0


def test_without_an_answer_there_is_no_accuracy() -> None:
    assert "accuracy" not in rollout_figures(hand_made([1.0, 0.0], TWO))


# Of the experience.


def test_advantages_are_over_own_tokens() -> None:
    figures = experience_figures(experience_of([1.0, 0.0], advantage="group_mean"))
    assert figures == {"advantages/mean": 0.25, "advantages/max": 0.5, "advantages/min": -0.5}  # (3 - 1) / 2 / 4


def test_divergence_is_a_mean_over_tokens_and_a_sum_over_completions() -> None:
    experience = experience_of([1.0, 0.0])
    # own d: 0, log 2, 0 and log 2; k3 = exp(-d) - 1 + d is log 2 - 1/2 for log 2
    apart = torch.tensor([[0.0, LOG2, 0.0], [LOG2, 0.0, 0.0]])
    figures = experience_figures(replace(experience, reference_log_probs=experience.old_log_probs - apart))
    assert figures["kl"] == pytest.approx((LOG2 - 0.5) / 2)
    assert figures["objective/kl"] == pytest.approx(LOG2)


def test_importance_weights_of_the_sampler_are_over_own_tokens() -> None:
    weights = torch.tensor([[1.0, 0.5, 2.0], [0.5, 9.0, 9.0]])
    figures = experience_figures(replace(experience_of([1.0, 0.0]), correction=weights))
    spread = {name.split("/")[-1]: value for name, value in figures.items() if name.startswith("sampling/")}
    assert spread == {"mean": 1.0, "min": 0.5, "max": 2.0}


def test_a_critic_that_knows_the_returns_explains_all_of_their_variance() -> None:
    returns = torch.tensor([[1.0, 2.0, 3.0], [4.0, 9.0, 9.0]])
    figures = experience_figures(replace(experience_of([1.0, 0.0]), values=returns, returns=returns))
    assert figures["explained_variance"] == 1
    assert figures["values/mean"] == figures["returns/mean"] == 2.5


def test_where_nothing_counts_nothing_is_shown() -> None:
    assert experience_figures(experience_of([None, None])) == {}


# Samples.


def test_a_sample_names_prompt_completion_rewards_and_advantage() -> None:
    rollouts, experience = hand_made([1.0, 0.0], TWO), experience_of([1.0, 0.0], advantage="group_mean")
    assert sample_rows(rollouts, experience, 1) == [
        {
            "prompt": "prompt 0",
            "completion": "text 0",
            "reward": 1.0,
            "reward/toy": 1.0,
            "advantage": 0.5,
            "tokens": 3,
            "finished": True,
        }
    ]


def test_a_samples_advantage_is_the_mean_over_its_own_tokens() -> None:
    experience = experience_of([1.0, 0.0])
    by_token = replace(experience, advantages=torch.tensor([[1.0, 2.0, 6.0], [-1.0, 0.0, 0.0]]))
    rows = sample_rows(hand_made([1.0, 0.0], TWO), by_token, 2)
    assert_close([row["advantage"] for row in rows], [3.0, -1.0])


def test_a_completion_without_reward_is_shown_too() -> None:
    row = sample_rows(hand_made([None, 0.0], TWO), experience_of([None, 0.0]), 1)[0]
    assert (row["reward"], row["advantage"]) == (None, 0.0)


def test_an_advantage_that_is_not_a_number_is_left_open() -> None:
    experience = experience_of([1.0, 0.0])
    experience.advantages[0, 0] = torch.nan
    assert sample_rows(hand_made([1.0, 0.0], TWO), experience, 1)[0]["advantage"] is None


def test_samples_go_on_into_the_next_group() -> None:
    rollouts = silent()
    experience = build_experience(rollouts, Scored(), Train(kl="none"), 0.0, 10)
    assert [row["prompt"] for row in sample_rows(rollouts, experience, 3)] == ["prompt 0", "prompt 0", "prompt 1"]
    assert len(sample_rows(rollouts, experience, 99)) == 6


# The sentinel's signals.


def test_pairs_that_repeat_within_a_completion_lower_distinct_2() -> None:
    assert distinct_2([[1, 2, 1, 2], [5, 6, 7]]) == pytest.approx((2 / 3 + 1) / 2)


def test_a_completion_of_one_token_has_no_pairs() -> None:
    assert distinct_2([[1], [2, 3]]) == 1
    assert distinct_2([[1], []]) is None


def test_only_wrong_completions_that_repeat_another_count() -> None:
    groups = [(["a", "a", "b", "b"], [True, True, False, False]), (["b", "c", "d", "e"], [False] * 4)]
    assert identical_and_wrong(groups) == 2 / 8  # the two b of the first group; the b of the second stands alone


def test_a_reward_that_is_length_correlates_wholly_and_by_rank() -> None:
    assert length_correlation(np.array([[1.0, 10.0, 100.0]]), np.array([[3, 4, 5]])) == pytest.approx(1)
    assert length_correlation(np.array([[3.0, 2.0, 1.0]]), np.array([[3, 4, 5]])) == pytest.approx(-1)


def test_prompts_that_call_for_long_answers_do_not_count() -> None:
    rewards, lengths = np.array([[0.0, 1.0], [10.0, 11.0]]), np.array([[6, 5], [60, 50]])
    assert length_correlation(rewards, lengths) == pytest.approx(-1)  # within each group the longer has less


def test_where_nothing_varies_there_is_no_correlation() -> None:
    assert length_correlation(np.ones((2, 3)), np.array([[1, 2, 3]] * 2)) is None
    assert length_correlation(np.array([[1.0, math.nan]]), np.array([[1, 2]])) is None


def test_solved_groups_may_be_silent() -> None:
    solved = [True] * 6 + [False] * 4
    assert unsolved_zero_variance([True] * 6 + [False, False, False, True], solved) == 1 / 4
    assert unsolved_zero_variance([True] * 10, [True] * 7 + [False] * 3) is None  # too few
