"""Labels: what names one and what does not, and references outside the set."""

from typing import Any

import pytest

from ratchet.components.graders.label import rule

LABELS = ["Billing", "bug report", "other"]


def judged(completion: str, answer: Any = "billing", **options: Any) -> tuple[float | None, bool | None, str | None]:
    grade = rule(LABELS, "{{item.answer}}", **options)(completion, {"answer": answer})
    return grade.score, grade.passed, grade.answer


@pytest.mark.parametrize("text", ["Billing", " billing.\n", "**BILLING**", "Label: billing", "answer = `Billing`", '"billing"'])
def test_the_label_alone_is_right(text: str) -> None:
    assert judged(text) == (1.0, True, "Billing")


@pytest.mark.parametrize(
    "text", ["", "billing or other", "It is billing", "bill", "billing\nother", "Label: Label: billing", "billings"]
)
def test_what_is_not_one_label_alone_names_none(text: str) -> None:
    assert judged(text) == (0.0, False, None)


def test_another_label_is_wrong_and_is_named() -> None:
    assert judged("Bug   Report") == (0.0, False, "bug report")


def test_the_last_line_counts_by_option_alone() -> None:
    text = "The invoice is disputed, so other is out.\n\nLabel: billing\n"
    assert judged(text, take="last_line") == (1.0, True, "Billing")
    assert judged(text) == (0.0, False, None)


def test_a_field_of_a_json_object_can_hold_the_label() -> None:
    assert judged('```json\n{"label": "billing", "why": "other"}\n```', field="label") == (1.0, True, "Billing")
    for text in ("billing", '{"label": ["billing"]}', '{"label": "billing", "label": "other"}', '["billing"]'):
        assert judged(text, field="label") == (0.0, False, None)


def test_case_counts_by_option() -> None:
    assert judged("BILLING", "Billing", ignore_case=False) == (0.0, False, None)


def test_weights_scale_the_score_and_leave_passed_alone() -> None:
    weights = {"Billing": 4.0, "bug report": 1.0, "other": 0.5}
    assert judged("billing", weights=weights) == (1.0, True, "Billing")
    assert judged("other", "other", weights=weights) == (0.125, True, "other")  # 0.5 of 4
    assert judged("other", weights=weights) == (0.0, False, "other")


@pytest.mark.parametrize("answer", ["refund", "", None, 7, ["billing"]])
def test_label_faults_a_reference_outside_the_set_judges_nothing_and_is_named(answer: Any) -> None:
    grade = rule(LABELS, "{{item.answer}}")("billing", {"answer": answer})
    assert grade.score is None
    assert "is not one of Billing, bug report, other" in grade.reason


def test_a_grade_has_the_references_label_in_its_canonical_form() -> None:
    grade = rule(LABELS, "{{item.answer}}")("no label", {"answer": "BILLING"})
    assert (grade.expected, grade.answer) == ("Billing", None)


def test_the_reference_is_read_from_a_kept_column() -> None:
    grade = rule(LABELS, "{{item.ticket.queue}}")("other", {"answer": "billing", "item": {"ticket": {"queue": "other"}}})
    assert grade.passed
