"""The final number of a completion is found and compared as a person would."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.graders.number import final_number, is_correct, verify

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2 + 3 = 5\n#### 5", "5"),
        ("####5", "5"),
        ("#### -5", "-5"),
        ("#### $1,234.50 \n", "1234.5"),
        ("#### 4\nno, wait\n#### 5", "5"),
        ("#### 5\nand so on", "5"),
    ],
)
def test_the_strict_form_is_the_last_marked_line(text: str, number: str) -> None:
    assert final_number(text) == Fraction(number)


@pytest.mark.parametrize(
    "text", ["5", "the answer is 5", "A: 5", "### 5", "#### five", "#### 5 apples", "#### 5 6", "####", ""]
)
def test_the_strict_form_takes_nothing_else(text: str) -> None:
    assert final_number(text) is None


@pytest.mark.parametrize(
    "text", ["A: 5", "so 2 + 3\nA: $5", "\\boxed{5} of 9", "The answer is 5 out of 9.", "#### 5", "first 3, then 5", "5 apples"]
)
def test_the_lenient_form_takes_a_marked_number_before_the_last_one(text: str) -> None:
    assert final_number(text, strict=False) == 5


@pytest.mark.parametrize(
    ("completion", "right"), [("#### 1000.00", True), ("#### 1,000", True), ("#### 1001", False), ("", False)]
)
def test_a_completion_is_right_if_its_number_equals_the_references(completion: str, right: bool) -> None:
    assert is_correct(completion, "500 * 2 = 1,000\n#### 1,000") is right


def test_nothing_is_right_against_a_reference_without_a_number() -> None:
    assert not is_correct("no number", "none here either", strict=False)


def test_equality_is_exact_beyond_the_precision_of_floats() -> None:
    assert not is_correct("#### 9007199254740993", "#### 9007199254740992")  # 2**53 + 1 against 2**53


def test_each_completion_is_scored_against_its_own_row() -> None:
    scores = verify(
        ["a", "b", "c"], ["#### 1", "#### 1", "1"], [{"answer": "#### 1"}, {"answer": "#### 2"}, {"answer": "#### 1"}]
    )
    assert [score.total for score in scores] == [1.0, 0.0, 0.0]
    assert scores[0].parts == {"verifier": 1.0}


def test_a_row_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        verify(["a", "b"], ["#### 1", "#### 2"], [{"answer": "#### 1"}])


@given(st.text(), st.booleans())
def test_any_text_can_be_judged(text: str, strict: bool) -> None:
    assert isinstance(final_number(text, strict), Fraction | None)


@given(st.integers(-(10**9), 10**9))
def test_a_marked_integer_is_always_found(value: int) -> None:
    assert final_number(f"work\n#### {value:,}") == value


def test_the_verifier_agrees_with_labelled_solutions_of_real_models(gsm8k: Path) -> None:
    lines = (gsm8k / "model_solutions.jsonl").read_text(encoding="utf-8").splitlines()
    disagreements = []
    for row in map(json.loads, lines):
        for solution in (row[model] for model in MODELS):
            if is_correct(solution["solution"], row["ground_truth"], strict=False) != solution["is_correct"]:
                disagreements.append(solution["solution"].splitlines()[-1])
    assert len(lines) == 1000
    assert disagreements == []  # of 4,000
