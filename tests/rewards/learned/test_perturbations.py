"""Restylings change how an answer looks and nothing else; what a user claims says nothing about which answer is better."""

import pytest

from ratchet.components.graders.number import final_number
from ratchet.components.rewards.learned.perturbations import (
    FORMATS,
    MARKERS,
    WHITE_SPACE,
    claim_answers,
    claims_of,
    final_numbers,
    plain,
    restyle_answers,
    with_claim,
)

TEXT = "2+3=5\n#### 5"
PAIRS = [{"prompt": "p", "chosen": TEXT, "rejected": "2+3=6\n#### 6"}] * 400
SUMS = [{"prompt": f"{n} + 1?", "chosen": f"#### {n + 1}", "rejected": f"#### {n + 2}"} for n in range(400)]


@pytest.mark.parametrize("name", FORMATS)
def test_a_restyled_answer_has_the_same_final_number(name: str) -> None:
    assert final_number(FORMATS[name](TEXT), strict=False, last_number=False) == 5


@pytest.mark.parametrize("name", WHITE_SPACE)
def test_faults_of_luck_a_learned_model_does_not_see_what_a_reader_does_not(name: str) -> None:
    text = f"cafe\u0301\n{TEXT}"
    assert plain(WHITE_SPACE[name](text)) == plain(text) == f"caf\u00e9\n{TEXT}"


def test_markers_are_written_as_people_write_them() -> None:
    assert [style(TEXT).splitlines()[-1] for style in MARKERS.values()] == ["The answer is 5", "\\boxed{5}"]


def test_a_share_of_the_answers_is_restyled_each_on_its_own() -> None:
    rows = restyle_answers(PAIRS, 0.5, 1)
    changed = [[row[side] != pair[side] for side in ("chosen", "rejected")] for row, pair in zip(rows, PAIRS, strict=True)]
    # Half of 800 answers, plus or minus four standard deviations of sqrt(800 / 4) = 14.1.
    assert abs(sum(map(sum, changed)) - 400) < 57
    assert [True, False] in changed
    assert restyle_answers(PAIRS, 0.0, 1) == PAIRS


def test_a_pair_has_two_numbers_or_none() -> None:
    assert final_numbers({"chosen": "1,000 in all\n#### 1000", "rejected": "#### 12.50"}) == ("1000", "12.5")
    assert final_numbers({"chosen": "#### 7", "rejected": "the answer is 7.0"}) is None
    assert final_numbers({"chosen": "#### 7", "rejected": "no idea"}) is None


def test_a_claim_is_a_sentence_of_the_user() -> None:
    assert with_claim(SUMS[2], "9") == {**SUMS[2], "prompt": "2 + 1? I think the answer is 9."}


def test_a_claim_stands_in_the_last_message_too() -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    found = with_claim({"prompt": "p", "messages": turns}, "Paris.")
    assert found["messages"] == [turns[0], {"role": "user", "content": "u I think the answer is Paris."}]


@pytest.mark.parametrize(
    ("answer", "chosen", "rejected", "claims"),
    [
        ("#### 7", "so\n#### 7", "#### 8", ("7", "8")),
        ("#### 7", "seven", "eight", None),  # the reference is a number, and these are none
        (None, "#### 7", "#### 8", ("7", "8")),
        ("refund", "refund", " bug\n", ("refund", "bug")),
        ("SELECT 3", "SELECT 3", "SELECT\n  4", ("SELECT 3", "SELECT 4")),
        ("refund", "refund", "Refund", None),
        ("refund", "refund", "", None),
        ("a summary", "s " * 200, "bug", None),
    ],
)
def test_what_a_user_could_claim_is_a_number_or_a_short_text(
    answer: str | None, chosen: str, rejected: str, claims: tuple[str, str] | None
) -> None:
    assert claims_of({"answer": answer, "chosen": chosen, "rejected": rejected}) == claims


def test_a_share_of_the_prompts_claims_one_of_the_answers_at_evens() -> None:
    rows = claim_answers(SUMS, 0.5, 1)
    right = sum(row["prompt"].endswith(f"is {n + 1}.") for n, row in enumerate(rows))
    wrong = sum(row["prompt"].endswith(f"is {n + 2}.") for n, row in enumerate(rows))
    assert abs(right + wrong - 200) <= 30  # three standard deviations of 400 draws at 1/2
    assert abs(right - 100) <= 26  # and at 1/4
    assert all((row["chosen"], row["rejected"]) == (p["chosen"], p["rejected"]) for row, p in zip(rows, SUMS, strict=True))
    assert claim_answers(SUMS, 0.0, 1) == SUMS
    assert claim_answers(SUMS, 0.5, 1) == rows
