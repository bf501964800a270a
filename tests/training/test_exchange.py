from dataclasses import replace

import pytest

from ratchet.components.graders.protocol import Grade
from ratchet.components.policy.engines.engine import Completion
from ratchet.components.ranks import ONE
from ratchet.components.training.exchange import decoded, encoded, gathered
from ratchet.components.training.rollouts import PromptRollout
from tests.training.rollouts import sampled

REWARDS = [1.0, None, 0.5, 0.0]


@pytest.mark.parametrize("top_p", [1.0, 0.5])
def test_groups_are_the_same_after_the_way(top_p: float) -> None:
    groups = sampled(REWARDS, 2, top_p=top_p).groups
    assert decoded(encoded(groups)) == [replace(group, row={}) for group in groups]


def test_a_grade_and_an_empty_completion_arrive_whole() -> None:
    grade = Grade(0.1 + 0.2, {"chrf": 1 / 3}, False, "sagt «nein»", None, "a", "b", [[1, 2], [3, 4]])
    fault = Grade(None, fault="timeout")
    group = PromptRollout({}, [5, 6], [Completion([], [], False), Completion([7], [-0.1], True)], ["", "x"], [grade, fault])
    assert decoded(encoded([group])) == [group]


def test_a_rank_without_prompts_sends_no_group() -> None:
    assert decoded(encoded([])) == []


def test_groups_get_their_rows_back() -> None:
    groups = sampled(REWARDS, 2).groups
    rows = [{"id": "a"}, {"id": "b"}]
    assert [group.row for group in gathered(groups, rows, ONE)] == rows
