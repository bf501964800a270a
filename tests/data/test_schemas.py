"""Every row is checked, and every failing one is listed with its file, number, column and reason."""

from typing import Any

import polars as pl
import pytest

from ratchet.components.data.schemas import MAX_LISTED, check_rows, raw_frame
from ratchet.components.errors import DataError
from ratchet.components.recipe import Checks

GOOD = {
    "file": "problems.jsonl",
    "row": 1,
    "prompt": "2 + 3?",
    "answer": "2 + 3 = 5\n#### 5",
    "demonstration": "#### 5",
    "chosen": "#### 5",
    "rejected": "#### 6",
}


def refusal(*changes: dict[str, Any]) -> str:
    """The message about good rows with these changes, numbered from 1."""
    with pytest.raises(DataError) as caught:
        check_rows(raw_frame({**GOOD, "row": number, **change} for number, change in enumerate(changes, 1)), Checks())
    return str(caught.value)


def passed(rows: list[dict[str, Any]], **checks: Any) -> pl.DataFrame:
    return check_rows(raw_frame(rows), Checks(**checks)).frame


def test_good_rows_pass_unchanged() -> None:
    (row,) = passed([GOOD]).to_dicts()
    assert {name: row[name] for name in GOOD} == GOOD


def test_a_row_needs_no_pair() -> None:
    assert passed([{**GOOD, "chosen": None, "rejected": None}]).height == 1


@pytest.mark.parametrize(
    "answer", ["#### 5", "####5", "#### -1,000.50", "#### 1/2", "#### \u22125", "work\n#### 7  ", "#### 0"]
)
def test_an_answer_may_end_in_any_number(answer: str) -> None:
    assert passed([{**GOOD, "answer": answer}]).height == 1


@pytest.mark.parametrize(
    "answer", ["5", "#### five", "#### 5 apples", "####", "#### 1,2", "##### 5", "#### 10-12", "#### ,", ""]
)
def test_an_answer_that_does_not_end_in_a_number_is_refused(answer: str) -> None:
    assert "problems.jsonl, row 2: answer: does not end in '#### N'" in refusal({}, {"answer": answer})


@pytest.mark.parametrize("column", ["prompt", "answer", "demonstration"])
def test_a_missing_value_is_refused_with_its_place(column: str) -> None:
    assert f"problems.jsonl, row 2: {column}: null value" in refusal({}, {column: None})


@pytest.mark.parametrize("column", ["prompt", "demonstration", "chosen", "rejected"])
def test_a_blank_value_is_refused_with_its_place(column: str) -> None:
    assert f"problems.jsonl, row 2: {column}: blank" in refusal({}, {column: " \n\t"})


@pytest.mark.parametrize("value", [5, 2.5, True, ["q"], {"q": 1}, float("inf")])
def test_a_value_that_is_not_text_is_refused_with_its_place(value: object) -> None:
    message = refusal({}, {"prompt": value})
    assert f"problems.jsonl, row 2: prompt: is a {type(value).__name__}, not text" in message
    assert "null" not in message


def test_half_a_pair_is_refused() -> None:
    assert "row 2: " in refusal({}, {"rejected": None})


def test_a_column_that_a_row_lacks_is_refused() -> None:
    with pytest.raises(DataError, match=r"problems\.jsonl, row 7: prompt: null value"):
        passed([{"file": "problems.jsonl", "row": 7, "answer": "#### 5", "demonstration": "#### 5"}])


def test_zero_rows_are_refused_with_the_key_to_correct() -> None:
    with pytest.raises(DataError, match=r"zero rows.*data\.source"):
        passed([])


def test_all_failing_rows_are_listed_at_once() -> None:
    message = refusal({"prompt": None}, {}, {"answer": "5", "chosen": " "})
    assert message.startswith("3 checks failed, in 2 of 3 rows:")
    assert message.endswith("Correct or remove these rows. Or drop up to a share of them with data.checks.max_bad_rows.")
    assert "row 2" not in message


def test_a_long_list_is_cut_and_says_so() -> None:
    message = refusal(*[{"prompt": None}] * (MAX_LISTED + 5))
    assert f"row {MAX_LISTED}:" in message
    assert f"row {MAX_LISTED + 1}:" not in message
    assert "... and 5 more" in message


@pytest.mark.parametrize("value", ["false", "False", "FALSE"])
def test_checks_that_were_switched_off_are_no_checks(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PANDERA_VALIDATION_ENABLED", value)
    with pytest.raises(DataError, match="PANDERA_VALIDATION_ENABLED"):
        passed([GOOD])


# Thresholds


def test_equal_sides_of_a_pair_are_no_preference() -> None:
    assert "row 1: rejected: is the same text as chosen" in refusal({"chosen": "#### 5", "rejected": " #### 5\n"})


def test_up_to_the_threshold_failing_rows_are_dropped_and_listed() -> None:
    rows = [{**GOOD, "row": n, "prompt": None if n == 4 else "q"} for n in range(1, 11)]
    checked = check_rows(raw_frame(rows), Checks(max_bad_rows=0.1))
    assert checked.frame["row"].to_list() == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert [str(failure) for failure in checked.failures] == ["problems.jsonl, row 4: prompt: null value"]


def test_above_the_threshold_the_data_are_refused() -> None:
    rows = [{**GOOD, "prompt": None if n < 2 else "q"} for n in range(10)]
    with pytest.raises(DataError, match="2 checks failed, in 2 of 10 rows"):
        check_rows(raw_frame(rows), Checks(max_bad_rows=0.1))


def test_no_threshold_lets_all_rows_go() -> None:
    with pytest.raises(DataError, match="in 1 of 1 rows"):
        check_rows(raw_frame([{**GOOD, "prompt": None}]), Checks(max_bad_rows=1.0))


def test_a_row_with_two_faults_counts_once() -> None:
    rows = [{**GOOD, "prompt": 5, "answer": "none"}, *[GOOD] * 9]
    assert check_rows(raw_frame(rows), Checks(max_bad_rows=0.1)).frame.height == 9


@pytest.mark.parametrize(
    ("answers", "answer", "good"),
    [
        ("number", "blue", False),
        ("text", "blue", True),
        ("text", None, False),
        ("text", " ", False),
        ("optional", None, True),
        ("optional", " ", False),
    ],
)
def test_the_recipe_decides_what_an_answer_must_be(answers: Any, answer: str | None, good: bool) -> None:
    rows = [{**GOOD, "answer": answer}, *[{**GOOD, "answer": "#### 1"}] * 9]
    assert len(check_rows(raw_frame(rows), Checks(answers=answers, max_bad_rows=0.5)).failures) == (0 if good else 1)
