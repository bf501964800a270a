from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from ratchet.components.graders.protocol import Grade
from ratchet.components.launch.ranks import ONE
from ratchet.components.policy.engines.engine import Completion
from ratchet.components.training.exchange import decoded, encoded, gathered
from ratchet.components.training.rollouts import PromptRollout, Rollouts, flat
from tests.training.rollouts import sampled

REWARDS = [1.0, None, 0.5, 0.0]


def listed(group: PromptRollout) -> PromptRollout:
    """The group with lists, as engines make it, in the place of arrays."""
    completions = [replace(c, log_probs=list(c.log_probs), entropies=list(c.entropies)) for c in group.completions]
    return replace(group, completions=completions)


def sent(groups: Sequence[PromptRollout]) -> list[PromptRollout]:
    """The groups after the way to another rank."""
    return [listed(group) for group in decoded(encoded(groups))]


@pytest.mark.parametrize("top_p", [1.0, 0.5])
def test_groups_are_the_same_after_the_way(top_p: float) -> None:
    groups = sampled(REWARDS, 2, top_p=top_p).groups
    assert sent(groups) == [replace(group, row={}) for group in groups]


def test_a_grade_and_an_empty_completion_arrive_whole() -> None:
    grade = Grade(0.1 + 0.2, {"chrf": 1 / 3}, False, "sagt «nein»", None, "a", "b", [[1, 2], [3, 4]])
    fault = Grade(None, fault="timeout")
    group = PromptRollout({}, [5, 6], [Completion([], [], False), Completion([7], [-0.1], True)], ["", "x"], [grade, fault])
    assert sent([group]) == [group]


def test_a_rank_without_prompts_sends_no_group() -> None:
    assert sent([]) == []


def test_what_arrives_gives_the_bits_of_what_was_sent() -> None:
    groups = sampled(REWARDS, 2).groups
    own, other = Rollouts(groups), Rollouts(decoded(encoded(groups)))
    rows = [[*c.log_probs, *[0.0] * (own.log_probs.shape[1] - len(c.log_probs))] for c in own.completions]
    assert own.log_probs.tolist() == other.log_probs.tolist() == torch.tensor(rows).tolist()
    assert flat(c.entropies for c in other.completions).tolist() == [
        float(torch.tensor(e)) for c in own.completions for e in c.entropies
    ]


def test_groups_get_their_rows_back() -> None:
    groups = sampled(REWARDS, 2).groups
    rows = [{"id": "a"}, {"id": "b"}]
    assert [group.row for group in gathered(groups, rows, ONE)] == rows
