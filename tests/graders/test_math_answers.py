"""Mathematical answers through the worker's process: equivalence, references that are none, and an end to what has none."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter

from ratchet.components.graders.build import build_grader
from ratchet.components.graders.protocol import Grader
from ratchet.components.recipe import GraderSettings

pytest.importorskip("math_verify", reason="the extra math is not installed")
ADAPTER: TypeAdapter[Any] = TypeAdapter(GraderSettings)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    grader: Any = build_grader(ADAPTER.validate_python({"type": "math", "seconds": 20.0}))
    yield grader
    grader.function.close()


@pytest.mark.parametrize(
    ("completion", "reference", "right"),
    [
        ("So the answer is $\\boxed{\\frac{1}{2}}$.", "$0.5$", True),
        ("$x = 3$", "3", True),
        ("(x+1)^2", "x^2 + 2x + 1", True),
        ("1", "x^2 + 2x + 1", False),
        ("The answer is 3.", "3", True),
        ("\\boxed{(x+1)^2}", "$x^2 + 2x + 1$", True),
        ("$\\{1, 2\\}$", "$\\{2, 1\\}$", True),
        ("$\\frac{1}{3}$", "$0.5$", False),
        ("I do not know", "$0.5$", False),
        ("", "$0.5$", False),
    ],
)
def test_equivalent_answers_pass(grader: Grader, completion: str, reference: str, right: bool) -> None:
    (grade,) = grader(["p"], [completion], [{"answer": reference}])
    assert (grade.score, grade.passed) == (float(right), right)


@pytest.mark.parametrize("reference", [None, "", "no mathematics here", "the answer is 3"])
def test_math_faults_a_reference_that_is_no_mathematics_judges_nothing(grader: Grader, reference: Any) -> None:
    (grade,) = grader(["p"], ["$3$"], [{"answer": reference}])
    assert (grade.score, grade.fault) == (None, None)
    assert "the reference" in grade.reason


@pytest.mark.slow
def test_math_faults_a_comparison_without_an_end_is_a_fault_and_the_next_one_works() -> None:
    grader: Any = build_grader(ADAPTER.validate_python({"type": "math", "seconds": 4.0}))
    grades = grader(["p"] * 2, ["$1000000!$", "$3$"], [{"answer": "1"}, {"answer": "3"}])
    grader.function.close()
    assert (grades[0].score, grades[0].fault) in [(None, "timeout"), (None, "memory")]
    assert grades[1].passed
