"""What a dev evaluation reports is the gold's, and the proxy stands beside it item by item."""

from collections.abc import Sequence
from typing import Any

import pytest

from ratchet.components.errors import RewardError
from ratchet.components.graders.protocol import Grade, RewardFunction
from ratchet.components.policy.engines.engine import SamplingSeed, SamplingSettings
from ratchet.components.training.dev_evaluation import dev_evaluation
from ratchet.components.training.sentinel import DevResult
from tests.tiny_models import tiny_policy

BRIEFLY = SamplingSettings(1, 2), SamplingSeed(1, "dev")
ROWS = [{"id": f"{n:040x}", "prompt": f"{n} apples", "answer": f"{n}"} for n in (3, 14, 159)]


def by_prompt(**grades: Grade) -> RewardFunction:
    def grade(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Any]) -> list[Grade]:
        return [grades[f"n{row['answer']}"] for row in rows]

    return grade


def evaluated(gold: RewardFunction) -> DevResult:
    proxy = by_prompt(n3=Grade(5.0), n14=Grade(None), n159=Grade(7.0))
    return dev_evaluation(ROWS, proxy, None, *BRIEFLY, gold=gold)(tiny_policy())


def test_a_bounded_gold_chooses_by_its_mean_score() -> None:
    result = evaluated(by_prompt(n3=Grade(0.25, passed=False), n14=Grade(0.5, passed=False), n159=Grade(0.75, passed=True)))
    assert result.figures["eval_sampled_accuracy"] == 0.5
    assert (list(result.gold), list(result.proxy)) == ([0.25, 0.5, 0.75], [5.0, None, 7.0])


def test_faults_of_the_gold_keep_their_place_and_take_the_proxy_of_their_item_with_them() -> None:
    result = evaluated(by_prompt(n3=Grade(None, fault="timeout"), n14=Grade(0.0, passed=False), n159=Grade(1.0, passed=True)))
    assert (result.figures["eval_sampled_accuracy"], result.figures["eval_proxy"]) == (0.5, 7.0)
    assert (list(result.gold), list(result.proxy)) == ([None, 0.0, 1.0], [None, None, 7.0])


def test_a_gold_that_judges_nothing_is_an_error() -> None:
    with pytest.raises(RewardError, match="could judge no completion on dev"):
        evaluated(by_prompt(n3=Grade(None), n14=Grade(None), n159=Grade(None)))


def test_a_reward_that_is_the_gold_grades_once() -> None:
    calls: list[int] = []

    def both(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Any]) -> list[Grade]:
        calls.append(len(rows))
        return [Grade(0.5) for _ in rows]

    result = dev_evaluation(ROWS, both, None, *BRIEFLY, gold=both)(tiny_policy())
    assert calls == [3]
    assert list(result.gold) == list(result.proxy) == [0.5] * 3
