"""Every row is checked, and every failing one is listed with its file, number, column and reason."""

from typing import Any

import pytest

from components.data.schemas import MAX_LISTED, raw_frame, validate
from components.errors import DataError

GOOD = {
    "file": "problems.jsonl",
    "row": 1,
    "question": "2 + 3?",
    "answer": "2 + 3 = 5\n#### 5",
    "demonstration": "#### 5",
    "chosen": "#### 5",
    "rejected": "#### 6",
}


def refusal(*changes: dict[str, Any]) -> str:
    """The message about good rows with these changes, numbered from 1."""
    with pytest.raises(DataError) as caught:
        validate(raw_frame([{**GOOD, "row": number, **change} for number, change in enumerate(changes, 1)]))
    return str(caught.value)


def test_good_rows_pass_unchanged() -> None:
    frame = raw_frame([GOOD])
    assert validate(frame).rows() == frame.rows()


def test_a_row_needs_no_pair() -> None:
    assert validate(raw_frame([{**GOOD, "chosen": None, "rejected": None}])).height == 1


@pytest.mark.parametrize("answer", ["#### 5", "####5", "#### -1,000.50", "work\n#### 7  ", "#### 0"])
def test_an_answer_may_end_in_any_number(answer: str) -> None:
    assert validate(raw_frame([{**GOOD, "answer": answer}])).height == 1


@pytest.mark.parametrize("answer", ["5", "#### five", "#### 5 apples", "####", "#### 1/2", "#### ,", ""])
def test_an_answer_that_does_not_end_in_a_number_is_refused(answer: str) -> None:
    assert "problems.jsonl, row 2: answer: does not end in '#### N'" in refusal({}, {"answer": answer})


@pytest.mark.parametrize("column", ["question", "answer", "demonstration"])
def test_a_missing_value_is_refused_with_its_place(column: str) -> None:
    assert f"problems.jsonl, row 2: {column}: null value" in refusal({}, {column: None})


@pytest.mark.parametrize("column", ["question", "demonstration", "chosen", "rejected"])
def test_a_blank_value_is_refused_with_its_place(column: str) -> None:
    assert f"problems.jsonl, row 2: {column}: blank" in refusal({}, {column: " \n\t"})


@pytest.mark.parametrize("value", [5, 2.5, True, ["q"], {"q": 1}, float("inf")])
def test_a_value_that_is_not_text_is_refused_with_its_place(value: object) -> None:
    message = refusal({}, {"question": value})
    assert message.startswith("problems.jsonl, row 2: question is a ")
    assert "not text" in message


def test_half_a_pair_is_refused() -> None:
    assert "row 2: " in refusal({}, {"rejected": None})


def test_a_column_that_a_row_lacks_is_refused() -> None:
    with pytest.raises(DataError, match=r"problems\.jsonl, row 7: question: null value"):
        validate(raw_frame([{"file": "problems.jsonl", "row": 7, "answer": "#### 5", "demonstration": "#### 5"}]))


def test_zero_rows_are_refused_with_the_key_to_correct() -> None:
    with pytest.raises(DataError, match=r"zero rows.*data\.source"):
        raw_frame([])


def test_all_failing_rows_are_listed_at_once() -> None:
    message = refusal({"question": None}, {}, {"answer": "5", "chosen": " "})
    assert message.startswith("3 checks failed:")
    assert message.endswith("Correct or remove these rows.")
    assert "row 2" not in message


def test_a_long_list_is_cut_and_says_so() -> None:
    message = refusal(*[{"question": None}] * (MAX_LISTED + 5))
    assert f"row {MAX_LISTED}:" in message
    assert f"row {MAX_LISTED + 1}:" not in message
    assert "... and 5 more" in message


@pytest.mark.parametrize("value", ["false", "False", "FALSE"])
def test_checks_that_were_switched_off_are_no_checks(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PANDERA_VALIDATION_ENABLED", value)
    with pytest.raises(DataError, match="PANDERA_VALIDATION_ENABLED"):
        validate(raw_frame([GOOD]))
