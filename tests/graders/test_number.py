"""Numbers are read exactly and as a whole, or not at all; final numbers are found and compared as a person would."""

import json
from fractions import Fraction
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.graders.number import (
    final_number,
    format_number,
    grade_number,
    grade_numbers,
    parse_last,
    parse_leading,
    parse_number,
)
from ratchet.components.graders.protocol import Grade

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
NUMBERS = {
    **{"1000": 1000, "1,000": 1000, "1000.00": 1000, "$1,000": 1000, "-$5": -5, "$-5": -5, "€18": 18, "18 €": 18},
    **{"12 345 678": 12345678, "1'000.5": Fraction(2001, 2), "25%": 25, "25 %": 25, ".5": Fraction(1, 2), "5.": 5, "+5": 5},
    **{
        "\u22125": -5,
        "\u0663\u0664": 34,
        "\uff11\uff12": 12,
        "1\u202f000": 1000,
        "\u200b7": 7,
        "\u0661\u066b\u0665": Fraction(3, 2),
    },
    **{"3/4": Fraction(3, 4), "-3/4": Fraction(-3, 4), "2 1/2": Fraction(5, 2), "2½": Fraction(5, 2), "¾": Fraction(3, 4)},
    **{r"\frac{3}{4}": Fraction(3, 4), r"-\dfrac34": Fraction(-3, 4), r"2\frac{1}{2}": Fraction(5, 2), "1,500/3": 500},
    **{
        "1e3": 1000,
        "2.5E-1": Fraction(1, 4),
        r"2 \times 10^{3}": 2000,
        "3 × 10^-2": Fraction(3, 100),
        "10³": 1000,
        "2^10": 1024,
    },
    **{
        r"1{,}000": 1000,
        r"10\,000": 10000,
        r"10,\!000": 10000,
        r"\$18": 18,
        r"50\%": 50,
        r"\text{18}": 18,
        "**5**": 5,
        "$5$": 5,
    },
}
NOT_NUMBERS = [
    *("", "ten", "-", "nan", "inf", "1.2.3", "1,2", "1,00", "1,0000", "1 0000", "5 6", "1,00,000", "10-12", "10:30", "3, 8"),
    *(
        "[3, 8]",
        "x = 5",
        "5 apples",
        "5x",
        "5kg",
        r"2\sqrt{3}",
        r"5\pi",
        "5 m/s^2",
        "1/2/3",
        "1/0",
        "2 5/3/1",
        "--5",
        "5!",
        "#5",
    ),
    *("1e", "1e999999999", "9" * 2_000, "9^99999", "10^{-99999999999}", r"\frac{a}{b}", "5 million", "1e1.5", "0x10", "1_000"),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS.items(), ids=map(ascii, NUMBERS))
def test_a_number_is_the_same_however_it_is_written(text: str, value: Fraction) -> None:
    assert parse_number(text) == value
    assert parse_number(f" {text}\n") == value


@pytest.mark.parametrize("text", NOT_NUMBERS, ids=lambda text: ascii(text[:20]))
def test_what_is_more_or_other_than_one_number_is_none(text: str) -> None:
    assert parse_number(text) is None


LEADING = {
    **{
        "5 apples": 5,
        "5, as said": 5,
        "5 (five)": 5,
        "5 out of 9.": 5,
        "5 because 2 + 3 is 5": 5,
        "$5 per hour": 5,
        "5 m/s^2": 5,
    },
    **{"x = 5": 5, ": 5": 5, "**5**.": 5, "5 - so": 5, r"90^\circ": 90, "1.5 million": 1_500_000, r"5\text{ thousand}": 5_000},
}
NO_LEADING = [
    *(
        "about 5",
        "5x",
        "5kg",
        "5, 6",
        "5 and 6",
        "5 to 7",
        "5 or 6",
        "5-7",
        "5 \u2013 7",
        "5+2",
        "5 x 3",
        "5:30",
        "5 = 2+3",
        "5/n",
    ),
    *(
        "5 feet 6 inches",
        "5 hours and 30 minutes",
        "5 and a half",
        "5 squared",
        "5..7",
        r"2\sqrt{3}",
        "2\u221a3",
        "101_2",
        "1,2 m",
    ),
]


@pytest.mark.parametrize(("text", "value"), LEADING.items())
def test_behind_a_number_a_unit_may_stand(text: str, value: int) -> None:
    assert parse_leading(text) == value


@pytest.mark.parametrize("text", NO_LEADING)
def test_a_number_that_goes_on_is_not_cut_off(text: str) -> None:
    assert parse_leading(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("first 3, then 5", 5),
        ("3+4=7", 7),
        ("so 1/2.", Fraction(1, 2)),
        ("it is -5", -5),
        ("9 - 4", None),
        ("5 to 10-12", None),
    ],
)
def test_the_last_number_is_not_the_end_of_another(text: str, value: object) -> None:
    assert parse_last(text) == value


SPACES = [f"so 1{space * 2**15}x" for space in (" ", "\n", "~", r"\quad", "\u00a0", ", ", " ;")]


@pytest.mark.parametrize(
    "text", ["1e999999999", "9" * 10**6, "1 " * 10**5, "1," * 10**5, "^{" * 10**5, r"\frac{" * 10**5, *SPACES]
)
def test_no_text_takes_long(text: str) -> None:
    start = process_time()
    assert (parse_number(text), parse_leading(text)) == (None, None)
    assert process_time() - start < 5
    parse_last(text)
    assert process_time() - start < 10


@pytest.mark.parametrize(("number", "text"), [((5, 1), "5"), ((-5, 2), "-2.5"), ((1, 3), "1/3"), ((1000, 1), "1000")])
def test_a_number_is_written_exactly(number: tuple[int, int], text: str) -> None:
    assert format_number(Fraction(*number)) == text


@given(st.fractions(max_denominator=10**6))
def test_what_is_written_is_read_again(number: Fraction) -> None:
    assert parse_number(format_number(number)) == number


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
    assert grade_number(completion, "500 * 2 = 1,000\n#### 1,000").passed is right


def test_nothing_is_judged_against_a_reference_without_a_number() -> None:
    assert grade_number("no number", "none here either", strict=False) == Grade(None)


def test_equality_is_exact_beyond_the_precision_of_floats() -> None:
    assert not grade_number("#### 9007199254740993", "#### 9007199254740992").passed  # 2**53 + 1 against 2**53


def test_each_completion_is_scored_against_its_own_row() -> None:
    scores = grade_numbers(
        ["a", "b", "c"], ["#### 1", "#### 1", "1"], [{"answer": "#### 1"}, {"answer": "#### 2"}, {"answer": "#### 1"}]
    )
    assert [grade.score for grade in scores] == [1.0, 0.0, 0.0]
    assert scores[0].parts == {"accuracy_lenient": 1.0, "format_rate": 1.0}


def test_a_row_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        grade_numbers(["a", "b"], ["#### 1", "#### 2"], [{"answer": "#### 1"}])


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
            if grade_number(solution["solution"], row["ground_truth"], strict=False).passed != solution["is_correct"]:
                disagreements.append(solution["solution"].splitlines()[-1])
    assert len(lines) == 1000
    assert disagreements == []  # of 4,000
