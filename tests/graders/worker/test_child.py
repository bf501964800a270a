"""What a user's function returns, as JSON."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.worker.child import described, graded


class Old:
    """What older versions asked for."""

    def __init__(self, total: float, parts: Mapping[str, float]) -> None:
        self.total, self.parts = total, parts

    def __repr__(self) -> str:  # of the test's name, which must be the same in each process
        return "Old"


class Leaves(dict[str, float]):
    """Parts that end the process when they are read."""

    def __iter__(self) -> Iterator[str]:
        raise SystemExit(0)

    items = keys = __iter__  # type: ignore[assignment]


def grade(result: Any) -> Grade:
    return Grade(**{"parts": {}, **graded(result)})


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, Grade(None)),
        (0.5, Grade(0.5)),
        (2, Grade(2.0)),
        (True, Grade(1.0, passed=True)),
        (np.float32(0.5), Grade(0.5)),
        (np.int64(3), Grade(3.0)),
        (torch.tensor(0.5), Grade(0.5)),
        (Grade(0.5, {"a": True}, True, "why", answer="42"), Grade(0.5, {"a": 1.0}, True, "why", answer="42")),
        (Old(0.5, {"a": 1}), Grade(0.5, {"a": 1.0})),
        ({"score": 1, "parts": {"a": 2}, "reason": "why"}, Grade(1.0, {"a": 2.0}, reason="why")),
        ({"score": None, "reason": "unsure"}, Grade(None, reason="unsure")),
    ],
    ids=repr,
)
def test_numbers_objects_and_dicts_are_grades(result: Any, expected: Grade) -> None:
    assert grade(result) == expected
    assert type(grade(result).score) in (float, type(None))


class Never:
    def __await__(self) -> Any:
        raise AssertionError("never awaited")

    def __repr__(self) -> str:
        return "<Never>"


NEVER_AWAITED = Never()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("1", "a score of type str: '1'"),
        (float("nan"), "not a finite number: nan"),
        (10**5000, "not a finite number: one of type int"),
        (1j, "type complex"),
        (NEVER_AWAITED, "a score that was never awaited: <Never"),
        ([1.0], "type list"),
        (np.array([1.0, 2.0]), "type ndarray"),
        (torch.zeros(2), "type Tensor"),
        ({"points": 1}, "a dict without a score"),
        (Grade(1.0, {"a": float("inf")}), "the part a that is not a finite number"),
        (Grade(1.0, parts=3), "parts of type int"),  # type: ignore[arg-type]
    ],
    ids=lambda value: type(value).__name__,
)
def test_faults_anything_else_breaks_the_protocol_and_is_shown(result: Any, message: str) -> None:
    found = graded(result)
    assert found["fault"] == "protocol"
    assert message in found["reason"]


def test_faults_a_result_whose_attributes_exit_is_a_fault() -> None:
    assert graded(Grade(1.0, Leaves(a=1.0)))["fault"] == "exit"


def test_the_place_of_an_error_is_the_users_line_and_not_the_librarys_it_calls() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - any of a library's
        json.loads("{")
    assert re.search(r"\(line \d+ of .*test_child\.py\)$", described(caught.value))


def test_half_a_surrogate_pair_becomes_text_that_can_be_written() -> None:
    found = graded({"score": 1.0, "answer": "caf\ud83d", "parts": {"\ude00": 1.0}, "reason": "read caf\ud83d"})
    assert (found["answer"], found["parts"], found["reason"]) == ("caf\\ud83d", {"\\ude00": 1.0}, "read caf\\ud83d")
    assert json.dumps(found, ensure_ascii=False).encode()
    assert graded({"score": 1.0, "answer": "é\U0001f600"})["answer"] == "é\U0001f600"
