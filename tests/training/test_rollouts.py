"""What a rollout phase gives, and how zero-variance groups are replaced."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.errors import RewardError
from ratchet.components.graders.protocol import Grade
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.plain import generate
from ratchet.components.policy.loading import Policy
from ratchet.components.training.meters import Phases
from ratchet.components.training.rollouts import Rollouts, distinct_items, refill, refilled, roll_out
from tests.tiny_models import tiny_policy
from tests.training.rollouts import PROMPTS, completion, hand_made

FOUR = [completion(-1.0, -2.0, -3.0), completion(-0.5), completion(-1.0, -1.0, finished=False), completion(-4.0)]
ROWS = [{"prompt": "a", "answer": "1"}, {"prompt": "bb", "answer": "2"}]


def rolled(reward: Any, engine: Any = generate, phases: Phases | None = None) -> Rollouts:
    settings = SamplingSettings(2, 3)
    return Rollouts(
        roll_out(tiny_policy(), engine, ROWS, [0, 1], settings, SamplingSeed(0, "test"), reward, phases or Phases())
    )


def ones(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Any]) -> list[Grade]:
    return [Grade(1.0, {}) for _ in completions]


def test_matrices_mark_each_completions_own_tokens() -> None:
    rollouts = hand_made([1.0, 0.0], FOUR[:2])
    assert rollouts.mask.tolist() == [[True, True, True], [True, False, False]]
    assert rollouts.log_probs.tolist() == [[-1.0, -2.0, -3.0], [-0.5, 0.0, 0.0]]


def test_a_prefix_is_as_likely_as_its_least_likely_token() -> None:
    rollouts = hand_made([1.0, 1.0], [completion(-1.0, -0.5, -2.0, -0.1), completion(-0.3, -0.7)])
    expected = torch.tensor([[0.0, -1.0, -1.0, -2.0], [0.0, -0.3, -0.7, -0.7]])
    assert torch.equal(rollouts.prefix_log_probs, expected)


def test_a_prefix_does_not_know_the_token_that_follows() -> None:
    one, other = (hand_made([1.0], [completion(-1.0, last)]) for last in (-0.1, -9.0))
    assert torch.equal(one.prefix_log_probs, other.prefix_log_probs)


def test_rewards_are_by_prompt_and_everything_else_by_completion() -> None:
    rollouts = hand_made([1.0, 0.0, None, 0.5], FOUR, k=2)
    assert rollouts.k == 2
    assert rollouts.rewards[0].tolist() == [1.0, 0.0]
    assert rollouts.rewards[1].isnan().tolist() == [True, False]
    assert rollouts.lengths.tolist() == [3, 1, 2, 1]
    assert rollouts.finished.tolist() == [True, True, False, True]


def test_groups_of_tokens_come_in_the_order_asked_for() -> None:
    groups = hand_made([1.0, 0.0, 0.0, 0.5], FOUR, k=2).token_groups([1, 0])
    assert [group.prompt for group in groups] == [PROMPTS[1], PROMPTS[0]]
    assert groups[0].completions == [[20, 21], [20]]


def test_a_rollout_scores_each_sample_with_its_own_row() -> None:
    seen: list[tuple[str, str]] = []

    def reward(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Any]) -> list[Grade]:
        seen.extend(zip(prompts, [row["answer"] for row in rows], strict=True))
        return [Grade(float(i), {}) for i in range(len(completions))]

    rollouts = rolled(reward)
    assert seen == [("a", "1"), ("a", "1"), ("bb", "2"), ("bb", "2")]
    assert rollouts.rewards.tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_each_group_holds_its_prompts_tokens_texts_and_row() -> None:
    policy, rollouts = tiny_policy(), rolled(ones)
    for row, group in zip(ROWS, rollouts.groups, strict=True):
        assert group.row is row
        assert group.prompt == policy.encode_prompt(row["prompt"])
        assert group.texts == [policy.decode(c.tokens) for c in group.completions]


@pytest.mark.parametrize("returned", [[], [Grade(1.0, {})] * 3, [Grade(float("inf"), {})] * 4, [Grade("1", {})] * 4])
def test_a_reward_that_breaks_its_protocol_ends_the_rollout(returned: list[Grade]) -> None:
    with pytest.raises(RewardError):
        rolled(lambda *_: returned)


def test_another_engine_is_given_all_it_needs_and_its_log_probs_are_taken() -> None:
    seen: list[SamplingRequest] = []

    def engine(policy: Policy, request: SamplingRequest) -> list[list[Completion]]:
        seen.append(request)
        return [[Completion([4, 1], [-0.25, -0.5], True)] * request.settings.samples for _ in request.prompts]

    rollouts, policy = rolled(ones, engine), tiny_policy()
    prompts = [policy.encode_prompt(row["prompt"]) for row in ROWS]
    assert seen == [SamplingRequest(prompts, [0, 1], SamplingSettings(2, 3), SamplingSeed(0, "test"), policy.ends)]
    assert rollouts.log_probs.tolist() == [[-0.25, -0.5]] * 4


def test_time_is_counted_towards_sampling_and_scoring() -> None:
    phases = Phases()
    rolled(ones, phases=phases)
    assert {"time/rollout", "time/reward"} <= phases.values(1).keys()


@given(st.lists(st.integers(0, 5), max_size=12))
def test_rows_drawn_twice_have_items_of_their_own(numbers: list[int]) -> None:
    items = distinct_items(numbers, 6)
    assert len(set(items)) == len(items)
    assert [item % 6 for item in items] == numbers


def test_a_row_drawn_once_keeps_its_number() -> None:
    assert distinct_items([3, 0, 3, 5, 3], 8) == [3, 0, 11, 5, 19]  # the second 3 is 3 + 8, the third 3 + 16


SILENT_IN_THE_MIDDLE = torch.tensor([[1.0, 0.0], [0.5, 0.5], [torch.nan, 1.0], [0.0, 0.1]])  # one reward is no signal


def test_zero_variance_groups_are_the_ones_to_refill() -> None:
    wanted = refill(SILENT_IN_THE_MIDDLE, seed=0, step=3, number=0, rows=100)
    assert wanted is not None
    assert wanted.places == [1, 2]
    assert len(wanted.rows) == 2
    assert all(0 <= row < 100 for row in wanted.rows)


def test_nothing_is_refilled_where_every_group_has_a_signal() -> None:
    assert refill(SILENT_IN_THE_MIDDLE[[0, 3]], seed=0, step=3, number=0, rows=100) is None


def test_what_is_drawn_depends_on_seed_step_and_round_alone() -> None:
    places = [(0, 3, 0), (1, 3, 0), (0, 4, 0), (0, 3, 1)]
    drawn = [refill(SILENT_IN_THE_MIDDLE, *place, rows=10**6) for place in places]
    assert refill(SILENT_IN_THE_MIDDLE, *places[0], rows=10**6) == drawn[0]
    assert len({tuple(wanted.rows) for wanted in drawn if wanted}) == 4


def rewards_after(new: list[float], places: list[int]) -> list[list[float]]:
    old = hand_made([1.0, 0.0, 0.5, 0.5, 0.25, 0.25], [completion(-1.0)] * 6, k=2)
    return refilled(old, places, hand_made(new, [completion(-2.0)] * len(new), k=2)).rewards.tolist()


def test_new_groups_with_a_signal_take_the_silent_places_in_order() -> None:
    # the first new group is silent too: the second comes first, and nothing is left for place 2
    assert rewards_after([0.5, 0.5, 0.0, 0.75], [1, 2]) == [[1.0, 0.0], [0.0, 0.75], [0.25, 0.25]]


def test_zero_variance_groups_stay_where_no_new_one_has_variance() -> None:
    assert rewards_after([0.5, 0.5, 0.75, 0.75], [1, 2]) == [[1.0, 0.0], [0.5, 0.5], [0.25, 0.25]]


def test_every_silent_place_is_taken_where_all_new_groups_have_a_signal() -> None:
    assert rewards_after([0.0, 0.5, 0.0, 0.75], [1, 2]) == [[1.0, 0.0], [0.0, 0.5], [0.0, 0.75]]
