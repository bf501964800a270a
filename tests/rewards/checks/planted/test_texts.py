"""Wrong answers to any task, by hand."""

import json

import pytest

from ratchet.components.rewards.checks.planted.texts import (
    Case,
    between,
    echo,
    form_of,
    half,
    larger,
    majority,
    one_off,
    scrambled,
    swapped,
)


def case(prompt: str, reference: str) -> Case:
    return Case({"prompt": prompt}, reference, form_of(reference))


CASES = [case("Is 5 the answer?", "#### 5"), case("Sort: red", "red apples"), case("Sort: blue", "blue")]


def test_the_prompt_is_wrong_only_where_it_does_not_hold_the_reference() -> None:
    assert echo(CASES) == [None, "Sort: red", None]


def test_another_rows_reference_is_one_that_differs_in_more_than_its_form() -> None:
    assert swapped(CASES) == ["red apples", "blue", "#### 5"]
    assert swapped([case("a", "It is 1,000.\n#### 1,000"), case("b", "1000"), case("c", " 1000.0")]) == [None] * 3


def test_the_reference_stands_between_two_others() -> None:
    assert between(CASES) == ["red apples\n#### 5\nblue", "blue\nred apples\n#### 5", "#### 5\nblue\nred apples"]
    assert between(CASES[:1]) == [None]


def test_the_commonest_reference_is_wrong_for_the_others() -> None:
    assert majority([CASES[2], CASES[0], CASES[2]]) == [None, "blue", None]
    assert majority([]) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("refund", "refunx"), ("Version 9.", "Version 0."), ("X!", "y!"), ("x", "y"), ("--", "--x"), ("", "x")],
)
def test_the_last_letter_or_digit_is_another_one(text: str, wrong: str) -> None:
    assert one_off(text) == wrong


@pytest.mark.parametrize(("text", "wrong"), [("#### 5", "#### 6"), ("so 3/4", None), ("3/4", "#### 1.75"), ("refund", None)])
def test_a_number_is_one_larger(text: str, wrong: str | None) -> None:
    assert larger(text) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Refund the zebra 19", "Sfgvoe uif afcsb 20"),
        (r"\boxed{x}", r"\boxed{y}"),  # the marker stays, so that the answer is read
        (json.dumps({"a": [1, "b"], "c": None, "d": True}), json.dumps({"a": [2, "c"], "c": 1, "d": False})),
        ("{}", None),
        ("?!", None),
    ],
)
def test_everything_that_can_count_is_changed(text: str, wrong: str | None) -> None:
    assert scrambled(text) == wrong


@pytest.mark.parametrize(("text", "wrong"), [("one two three four", "one two"), ("one two three", "one"), ("one", None)])
def test_half_of_the_words_are_left(text: str, wrong: str | None) -> None:
    assert half(text) == wrong
