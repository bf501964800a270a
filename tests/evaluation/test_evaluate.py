"""Measuring a policy on items."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from components.evaluation.evaluate import as_rows, evaluate_items, summarise
from components.policy.adapters import Reference
from components.policy.loading import Policy
from components.records import ItemResult
from tests.tiny_models import tiny_policy

ROWS = [{"id": f"{n:040x}", "prompt": f"{n} apples", "answer": f"#### {n}"} for n in (3, 14, 159, 2653, 58979)]
ONE = ItemResult("a", "p", "#### 3", correct=True, formatted=True, length=5, finished=True, kl=2.0)


def measured(rows: list[dict[str, str]] = ROWS, **options: object) -> list[ItemResult]:
    arguments = {"seed": 7, "purpose": "dev", "max_new_tokens": 8, "temperature": 1.0, **options}
    return evaluate_items(tiny_policy(), rows, **arguments)


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
    results = measured(reference=Reference(tiny_policy()))
    assert [r.kl for r in results] == pytest.approx([0.0] * 5, abs=1e-4)


def test_the_divergence_to_another_policy_is_positive_on_average() -> None:
    results = measured(reference=Reference(tiny_policy(seed=1)))
    assert sum(r.kl for r in results if r.kl is not None) > 0


class Saying(Policy):
    """Whatever it samples reads ``#### 3``."""

    def decode(self, tokens: Sequence[int]) -> str:
        return "#### 3"


def test_a_completion_is_right_when_its_final_number_is_the_answers() -> None:
    policy = Saying(tiny_policy().model, tiny_policy().tokenizer)
    results = evaluate_items(policy, ROWS[:2], seed=7, purpose="dev", max_new_tokens=4, temperature=1.0)
    assert [r.correct for r in results] == [True, False]  # the answers are 3 and 14
    assert [r.formatted for r in results] == [True, True]
    assert results[0].completion == "#### 3"


def test_a_summary_by_hand() -> None:
    results = [
        ONE,
        replace(ONE, correct=False, length=7, kl=4.0),
        replace(ONE, correct=False, formatted=False, length=9, kl=6.0),
    ]
    summary = summarise(results)
    assert summary["accuracy"].value == pytest.approx(1 / 3)
    assert summary["format_rate"].value == pytest.approx(2 / 3)
    # mean 7, deviation 2: 7 - 1.96 x 2 / sqrt(3)
    assert summary["length"][:4] == pytest.approx((7.0, 4.736787, 9.263213, 3))
    assert summary["kl"].value == 4


def test_a_summary_without_reference_has_no_divergence() -> None:
    assert "kl" not in summarise([replace(ONE, kl=None)])


def test_results_survive_as_rows() -> None:
    assert [ItemResult(**row) for row in as_rows([ONE])] == [ONE]
