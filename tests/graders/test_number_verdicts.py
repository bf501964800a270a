"""A part of a number is never taken for it: not in a completion, not in a reference, whatever the form."""

import pytest

from ratchet.components.graders.build import build_grader
from ratchet.components.graders.number import grade_numbers
from ratchet.components.recipe import Numbers

# completion, reference, verdict in the lenient form, verdict in the strict form
VERDICTS = [
    # thousands, decimals, signs, currencies, other digits
    ("#### 12,500", "#### 12500", 1, 1),
    ("#### 12 500", "#### 12500", 1, 1),
    ("#### 12'500", "#### 12500", 1, 1),
    ("#### 12 500", "#### 12", 0, 0),
    ("\\boxed{12{,}500}", "#### 12", 0, 0),
    ("#### 3,4", "#### 34", 0, 0),
    ("\\boxed{3,4}", "#### 34", 0, 0),
    ("#### 3,4", "#### 3", 0, 0),
    ("#### .25", "#### 0.25", 1, 1),
    ("#### +7.", "#### 7", 1, 1),
    ("#### -0.0", "#### 0", 1, 1),
    ("#### \u22128", "#### -8", 1, 1),
    ("The answer is \u22128", "#### 8", 0, 0),
    ("#### $-8", "#### -8", 1, 1),
    ("#### \u00a33", "#### 3", 1, 1),
    ("#### \u0967\u0968", "#### 12", 1, 1),
    # fractions, powers, roots
    ("#### 3/8", "#### 0.375", 1, 1),
    ("\\boxed{\\frac{3}{8}}", "\\frac{3}{8}", 1, 0),
    ("\\boxed{3/8}", "#### 3", 0, 0),
    ("A: 1 3/4", "#### 1", 0, 0),
    ("A: 1 3/4", "#### 1.75", 1, 0),
    ("#### 4e2", "#### 400", 1, 1),
    ("\\boxed{10^{4}}", "#### 10000", 1, 0),
    ("\\boxed{3\\sqrt{5}}", "#### 3", 0, 0),
    ("\\boxed{7\\pi}", "#### 7", 0, 0),
    ("\\boxed{7n}", "#### 7", 0, 0),
    # units, scales, ranges
    ("#### 7 pears", "#### 7", 1, 0),
    ("\\boxed{30\\%}", "#### 30", 1, 0),
    ("\\boxed{\\text{7}}", "#### 7", 1, 0),
    ("#### 2.5 million", "#### 2.5", 0, 0),
    ("The answer is 2.5 million", "#### 2500000", 1, 0),
    ("The answer is 20-25", "#### 20", 0, 0),
    ("The answer is 5 feet 6 inches", "#### 5", 0, 0),
    # markers, their edges, and what follows them
    ("**#### 7**", "#### 7", 1, 1),
    ("The answer is **7**.", "#### 7", 1, 0),
    ("The final answer is $7$.", "#### 7", 1, 0),
    ("\\[ \\boxed{ 7 } \\]", "#### 7", 1, 0),
    ("\\fbox{7}", "#### 7", 1, 0),
    ("\\boxed{n = 7}", "#### 7", 1, 0),
    ("<answer>\n7\n</answer>", "#### 7", 1, 0),
    ("The answer is 6. No: #### 7", "#### 7", 1, 1),
    ("#### 7\n#### not sure", "#### 7", 0, 0),
    ("\\boxed{7} or \\boxed{x}", "#### 7", 0, 0),
    ("\\boxed{7", "#### 7", 0, 0),
    ("####\n\n7", "#### 7", 1, 0),
    ("##### 7", "#### 7", 0, 0),
    ("#### 7\u2028so", "#### 7", 1, 1),
    ("#### 7\r\nso", "#### 7", 1, 1),
    ("\ufeff#### 7", "#### 7", 1, 1),
    ("#### 7<|eot_id|>", "#### 7", 1, 1),
    ("Extra: 7", "#### 7", 0, 0),
    ("", "#### 7", 0, 0),
    # references
    ("#### 5", "\u22125", 0, 0),
    ("#### 40", "40%", 1, 1),
    ("#### 2000", "2 000", 1, 1),
    ("#### 2", "2e3", 0, 0),
    ("#### 7", "so\n#### 7\n", 1, 1),
    ("#### 7", "It is \\boxed{7}.", 1, 1),
    ("#### 2", "9 m/s^2", None, None),
    ("#### 9", "9 m/s^2", None, None),
    ("#### 45", "12:45", None, None),
    ("#### 2", "x = 1, y = 2", None, None),
    ("#### 2", "(1, 2)", None, None),
    ("#### 9", "6-9", None, None),
    ("#### 9", "nine", None, None),
    ("#### 7", "#### 7 or 8", None, None),
    ("#### 7", "#### 7\n#### none", None, None),
    ("#### 1", "#### 1,2", None, None),
    ("#### 1", "", None, None),
]


@pytest.mark.parametrize("form", ["lenient", "strict"])
@pytest.mark.parametrize(("completion", "reference", "lenient", "strict"), VERDICTS)
def test_faults_a_part_is_not_taken_for_the_whole(
    form: str, completion: str, reference: str, lenient: float | None, strict: float | None
) -> None:
    (grade,) = build_grader(Numbers(form=form))(["p"], [completion], [{"answer": reference}])  # type: ignore[arg-type]
    assert grade.score == (lenient if form == "lenient" else strict)


def test_faults_a_reference_may_be_a_json_number() -> None:
    rows = [{"answer": 7}, {"answer": 7.5}, {"answer": True}]
    assert [grade.score for grade in grade_numbers([""] * 3, ["#### 7"] * 3, rows)] == [1.0, 0.0, None]


def test_faults_a_huge_exponent_is_judged_at_once() -> None:
    rows = [{"answer": "#### 5"}, {"answer": "1e999999999"}]
    assert [grade.score for grade in grade_numbers([""] * 2, ["#### 1e999999999"] * 2, rows)] == [0.0, None]
