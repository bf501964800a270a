"""Measuring a policy on items."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ratchet.components.evaluation.evaluate import Measuring, as_rows, evaluate_items
from ratchet.components.graders.build import build_grader
from ratchet.components.graders.protocol import Grade
from ratchet.components.policy.adapters import Reference
from ratchet.components.policy.engines.engine import SamplingSeed, SamplingSettings
from ratchet.components.policy.loading import Policy
from ratchet.components.recipe import Exact, Length, Slice
from ratchet.components.records import ItemResult
from tests.tiny_models import tiny_policy

ROWS = [{"id": f"{n:040x}", "prompt": f"{n} apples", "answer": f"#### {n}"} for n in (3, 14, 159, 2653, 58979)]
BRIEFLY = SamplingSettings(1, 4), SamplingSeed(7, "dev")
ONE = ItemResult("a", "p", "#### 3", passed=True, score=1.0, length=5, finished=True, kl=2.0)


def measured(rows: list[dict[str, str]] = ROWS, **options: Any) -> list[ItemResult]:
    seed = SamplingSeed(options.pop("seed", 7), options.pop("purpose", "dev"))
    measuring = options.pop("measuring", Measuring())
    return evaluate_items(
        tiny_policy(), rows, SamplingSettings(**{"samples": 1, "max_new_tokens": 8, **options}), seed, measuring
    )


def test_there_is_one_result_for_each_item_in_order() -> None:
    results = measured()
    assert [r.id for r in results] == [row["id"] for row in ROWS]
    assert all(1 <= r.length <= 8 for r in results)
    assert all(r.kl is None for r in results)


def test_a_result_does_not_depend_on_the_other_items() -> None:
    results = measured()
    assert measured(ROWS[::-1]) == results[::-1]
    assert measured(ROWS[2:3]) == results[2:3]


@pytest.mark.parametrize("change", [{"seed": 8}, {"purpose": "sealed"}])
def test_seed_and_purpose_decide_the_draws(change: dict[str, object]) -> None:
    assert measured() == measured()
    assert measured(**change) != measured()


def test_greedy_needs_no_seed() -> None:
    assert measured(temperature=0.0, seed=1) == measured(temperature=0.0, seed=2)


def test_a_policy_is_no_distance_from_itself() -> None:
    results = measured(measuring=Measuring(Reference(tiny_policy())))
    assert [r.kl for r in results] == pytest.approx([0.0] * 5, abs=1e-4)


def test_the_divergence_to_another_policy_is_positive_on_average() -> None:
    results = measured(measuring=Measuring(Reference(tiny_policy(seed=1))))
    assert sum(r.kl for r in results if r.kl is not None) > 0


class Saying(Policy):
    """Whatever it samples reads ``#### 3``."""

    def decode(self, tokens: Sequence[int]) -> str:
        return "#### 3"


def test_a_completion_is_right_when_its_final_number_is_the_answers() -> None:
    policy = Saying(tiny_policy().model, tiny_policy().tokenizer)
    results = evaluate_items(policy, ROWS[:2], *BRIEFLY)
    assert [r.passed for r in results] == [True, False]  # the answers are 3 and 14
    assert [r.parts["format_rate"] for r in results] == [1.0, 1.0]
    assert results[0].completion == "#### 3"


def test_results_survive_as_rows() -> None:
    assert [ItemResult.from_json(row) for row in as_rows([ONE])] == [ONE]


def test_samples_come_item_by_item_and_the_first_is_what_one_alone_would_be() -> None:
    three = measured(samples=3)
    assert [r.id for r in three] == [row["id"] for row in ROWS for _ in range(3)]
    assert [r.sample for r in three[:4]] == [0, 1, 2, 0]
    assert three[::3] == measured()


class Loosely(Policy):
    """Whatever it samples names 3 without the mark."""

    def decode(self, tokens: Sequence[int]) -> str:
        return "it is 3"


def test_the_lenient_extractor_stands_beside_the_strict_one() -> None:
    policy = Loosely(tiny_policy().model, tiny_policy().tokenizer)
    (result,) = evaluate_items(policy, ROWS[:1], *BRIEFLY)
    assert (result.passed, result.score, result.answer) == (False, 0.0, None)
    assert result.parts == {"accuracy_lenient": 1.0, "format_rate": 0.0}


def test_a_reward_and_its_parts_go_with_each_sample() -> None:
    def reward(prompts: list[str], texts: list[str], rows: list[dict[str, str]]) -> list[Grade]:
        return [Grade(float(len(prompt)), {"part": 1.0}) for prompt in prompts]

    result = measured(ROWS[:2], samples=2, measuring=Measuring(reward=reward))[3]
    assert result.rewards == {"reward": len("14 apples"), "reward/part": 1.0}


def test_the_divergence_to_the_incumbent_stands_beside_that_to_the_start() -> None:
    measuring = Measuring(Reference(tiny_policy(seed=1)), Reference(tiny_policy()))
    results = measured(measuring=measuring)
    assert [r.kl_incumbent for r in results] == pytest.approx([0.0] * 5, abs=1e-4)
    assert [r.kl for r in results] == [r.kl for r in measured(measuring=Measuring(Reference(tiny_policy(seed=1))))]


def test_a_policy_of_another_vocabulary_reads_the_text_in_its_own_tokens() -> None:
    alone = measured(measuring=Measuring(Reference(tiny_policy(seed=1))))
    results = measured(measuring=Measuring(Reference(tiny_policy(seed=1)), Reference(tiny_policy(vocabulary=280))))
    assert [r.kl for r in results] == [r.kl for r in alone]
    assert all(r.kl_incumbent is not None and abs(r.kl_incumbent) > 0.1 for r in results)


def test_slices_are_by_prompt_or_by_field() -> None:
    slices = [Slice(name="many", prompt=r"\d{2}"), Slice(name="hard", field="level", equals=5)]
    assert [piece.includes({"prompt": "14 apples", "level": 5}) for piece in slices] == [True, True]
    assert [piece.includes({"prompt": "3 apples"}) for piece in slices] == [False, False]
    assert [piece.includes({"prompt": "3 apples", "level": 4}) for piece in slices] == [False, False]
    assert measured(ROWS[:2], measuring=Measuring(slices=slices))[1].slices == ["many"]


def test_any_grader_can_be_gold_and_others_stand_beside_it() -> None:
    rows = [{**ROWS[0], "answer": "it is 3", "group": "g1"}, {**ROWS[1], "answer": "no"}]
    exact, brief = build_grader(Exact(type="exact")), build_grader(Length(type="length", longest=3, slope=10.0))
    policy = Loosely(tiny_policy().model, tiny_policy().tokenizer)
    measuring = Measuring(gold=exact, graders={"brief": brief})
    first, second = evaluate_items(policy, rows, *BRIEFLY, measuring)
    assert (first.passed, first.score, first.answer, first.cluster) == (True, 1.0, "it is 3", "g1")
    assert (second.passed, second.score, second.cluster) == (False, 0.0, None)
    assert first.grades == {"brief": pytest.approx(0.6)}  # four characters too many, slope 10


def test_a_fault_of_the_gold_is_missing_and_never_wrong() -> None:
    def broken(prompts: list[str], texts: list[str], rows: list[dict[str, str]]) -> list[Grade]:
        return [Grade(None, fault="timeout") if "14" in prompt else Grade(1.0, passed=True) for prompt in prompts]

    results = measured(ROWS[:2], measuring=Measuring(gold=broken))
    assert [(r.score, r.passed, r.fault) for r in results] == [(1.0, True, None), (None, None, "timeout")]


def test_a_row_from_before_grades_is_read() -> None:
    old = {**as_rows([ONE])[0], "correct": True, "formatted": True, "correct_lenient": None}
    for name in ("passed", "score", "parts", "fault", "grades", "cluster"):
        del old[name]
    assert ItemResult.from_json(old) == replace(ONE, parts={"format_rate": 1.0})
