"""Generated word problems are right where they say so, and wrong as often as asked."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.data.word_problems import apply, generate, near_miss, worked_answer


def rows(problems: int = 400, top: int = 20, demo_noise: float = 0.0, pair_noise: float = 0.0, seed: int = 1) -> list[Any]:
    return list(generate(problems, top, demo_noise, pair_noise, seed))


def final(text: str) -> int:
    return int(text.rpartition("#### ")[2])


def test_a_worked_answer_shows_each_step_and_ends_in_the_result() -> None:
    # 3 boxes of 4 pens and 5 more: 12, then 17.
    assert worked_answer([(3, "*", 4), (12, "+", 5)]) == "3*4=12\n12+5=17\n#### 17"


def test_an_error_changes_the_last_step_and_the_result_together() -> None:
    assert worked_answer([(3, "*", 4), (12, "+", 5)], error=-2) == "3*4=12\n12+5=15\n#### 15"


@pytest.mark.parametrize(("operator", "result"), [("+", 9), ("-", 5), ("*", 14)])
def test_a_step_has_the_value_of_its_operator(operator: str, result: int) -> None:
    assert apply(7, operator, 2) == result


def test_every_line_of_every_answer_is_true_arithmetic() -> None:
    for row in rows():
        *steps, last = row["answer"].splitlines()
        for step in steps:
            left, right = step.split("=")
            assert eval(left) == int(right), row  # noqa: S307 - our own digits and operators
        assert last == f"#### {steps[-1].split('=')[1]}"


def test_the_operands_of_every_answer_stand_in_its_question() -> None:
    for row in rows():
        first = row["answer"].split("=")[0].replace("-", " ").replace("+", " ").replace("*", " ").split()
        assert set(first) <= set(row["question"].replace(".", "").split()), row


def test_no_answer_is_negative() -> None:
    values = [final(row[column]) for row in rows(demo_noise=0.5) for column in ("answer", "demonstration", "rejected")]
    assert min(values) >= 0


@pytest.mark.parametrize("top", [2, 20, 1000])
def test_operands_stay_within_their_limit(top: int) -> None:
    numbers = [int(word.strip(".")) for row in rows(top=top) for word in row["question"].split() if word.strip(".").isdigit()]
    assert max(numbers) <= top


def test_a_noiseless_pair_prefers_the_right_answer_to_a_near_miss() -> None:
    for row in rows():
        assert row["chosen"] == row["answer"] == row["demonstration"]
        assert abs(final(row["rejected"]) - final(row["answer"])) in {1, 2, 10}


def test_demonstrations_are_wrong_as_often_as_asked() -> None:
    wrong = np.mean([row["demonstration"] != row["answer"] for row in rows(2000, demo_noise=0.34)])
    # sqrt(0.34 * 0.66 / 2000) = 0.0106; 0.05 is almost five of them.
    assert abs(wrong - 0.34) < 0.05


def test_pairs_are_swapped_as_often_as_asked() -> None:
    swapped = np.mean([row["rejected"] == row["answer"] for row in rows(2000, pair_noise=0.2)])
    # sqrt(0.2 * 0.8 / 2000) = 0.009; 0.045 is five of them.
    assert abs(swapped - 0.2) < 0.045


def test_the_seed_decides_every_row() -> None:
    assert rows(20, seed=3) == rows(20, seed=3)
    assert rows(20, seed=3) != rows(20, seed=4)


def test_more_problems_begin_with_the_fewer() -> None:
    assert rows(40)[:20] == rows(20)


def test_noise_leaves_questions_and_right_answers_alone() -> None:
    clean, noisy = rows(50), rows(50, demo_noise=0.9, pair_noise=0.9)
    assert [(row["question"], row["answer"]) for row in clean] == [(row["question"], row["answer"]) for row in noisy]


@given(st.integers(0, 10**6), st.integers(0, 2**32))
def test_a_near_miss_is_wrong_and_not_negative(value: int, seed: int) -> None:
    error = near_miss(np.random.default_rng(seed), value)
    assert error != 0
    assert value + error >= 0
