"""A record of any shape becomes one row; what is neither text nor messages is left for the checks."""

from typing import Any

import pytest

from ratchet.components.data.columns import DEMONSTRATION, PAIR, PROBLEM, conversation, raw_row, restored, stored
from ratchet.components.recipe import JsonLines

NAMES = JsonLines(kind="jsonl", path="f.jsonl")


def row(record: dict[str, Any], **names: Any) -> dict[str, Any]:
    return raw_row(record, NAMES.model_copy(update=names))


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


ASK, RIGHT, WRONG = said("user", "2 + 3?"), said("assistant", "#### 5"), said("assistant", "#### 6")

SHAPES = {
    "plain prompt": ({"prompt": "2 + 3?"}, ("2 + 3?", None, None, None, None, PROBLEM)),
    "chat messages": ({"messages": [ASK]}, ("2 + 3?", None, None, None, None, PROBLEM)),
    "chat as prompt": ({"prompt": [ASK]}, ("2 + 3?", None, None, None, None, PROBLEM)),
    "reference answer": ({"question": "2 + 3?", "answer": "#### 5"}, ("2 + 3?", "#### 5", "#### 5", None, None, PROBLEM)),
    "demonstration": ({"prompt": "2 + 3?", "completion": "#### 5"}, ("2 + 3?", "#### 5", "#### 5", None, None, DEMONSTRATION)),
    "answer and demonstration": (
        {"prompt": "2 + 3?", "answer": "#### 5", "demonstration": "five"},
        ("2 + 3?", "#### 5", "five", None, None, PROBLEM),
    ),
    "demonstration in a chat": ({"messages": [ASK, RIGHT]}, ("2 + 3?", "#### 5", "#### 5", None, None, DEMONSTRATION)),
    "conversational demonstration": (
        {"prompt": [ASK], "completion": [RIGHT]},
        ("2 + 3?", "#### 5", "#### 5", None, None, DEMONSTRATION),
    ),
    "standard preference": (
        {"prompt": "2 + 3?", "chosen": "#### 5", "rejected": "#### 6"},
        ("2 + 3?", "#### 5", "#### 5", "#### 5", "#### 6", PAIR),
    ),
    "conversational preference": (
        {"prompt": [ASK], "chosen": [RIGHT], "rejected": [WRONG]},
        ("2 + 3?", "#### 5", "#### 5", "#### 5", "#### 6", PAIR),
    ),
    "preference with the prompt inside": (
        {"chosen": [ASK, RIGHT], "rejected": [ASK, WRONG]},
        ("2 + 3?", "#### 5", "#### 5", "#### 5", "#### 6", PAIR),
    ),
    "problem with a preference": (
        {"question": "2 + 3?", "answer": "#### 5", "chosen": "five", "rejected": "six"},
        ("2 + 3?", "#### 5", "#### 5", "five", "six", PROBLEM),
    ),
}


@pytest.mark.parametrize(("record", "expected"), SHAPES.values(), ids=SHAPES.keys())
def test_each_shape_becomes_the_same_row(record: dict[str, Any], expected: tuple[str | None, ...]) -> None:
    found = row(record)
    assert tuple(found[n] for n in ("prompt", "answer", "demonstration", "chosen", "rejected", "shape")) == expected


def test_fields_can_have_other_names() -> None:
    found = row({"ask": "q", "say": "a", "good": "g", "bad": "b"}, question="ask", answer="say", chosen="good", rejected="bad")
    assert (found["prompt"], found["answer"], found["chosen"], found["rejected"]) == ("q", "a", "g", "b")


def test_a_group_is_text_whatever_its_type() -> None:
    assert row({"prompt": "q", "user": 7}, group="user")["group"] == "7"
    assert row({"prompt": "q", "user": 7})["group"] is None


def test_turns_of_a_conversation_keep_their_roles_beside_their_transcript() -> None:
    turns = [said("system", "Be brief."), ASK, RIGHT, said("user", "And 4?")]
    text = "system: Be brief.\n\nuser: 2 + 3?\n\nassistant: #### 5\n\nuser: And 4?"
    assert conversation(turns) == (text, None, turns)
    assert conversation([*turns, said("assistant", "#### 9")]) == (text, "#### 9", turns)
    assert row({"messages": turns})["messages"] == turns


def test_one_user_message_is_its_text_alone() -> None:
    assert conversation([ASK, RIGHT]) == ("2 + 3?", "#### 5", None)
    assert "messages" not in row({"messages": [ASK, RIGHT]})


def test_sides_that_answer_different_prompts_have_none() -> None:
    assert row({"chosen": [said("user", "one"), RIGHT], "rejected": [said("user", "two"), WRONG]})["prompt"] is None


@pytest.mark.parametrize("value", [[], "text", [5], [{"role": "user"}], [{"role": "user", "content": 5}], 5, {"role": "user"}])
def test_what_is_no_conversation_is_left_for_the_checks(value: Any) -> None:
    assert conversation(value) is None
    assert row({"prompt": value})["prompt"] == value


def test_an_added_row_is_stored_under_the_name_that_published_versions_have() -> None:
    found = row({"prompt": "2 + 3?", "answer": "#### 5"})
    kept = stored({"file": "f.jsonl", "row": 1, **found})
    assert kept["question"] == "2 + 3?"
    assert sorted(kept) == sorted(["question", "answer", "demonstration", "chosen", "rejected", "group", "shape"])
    assert restored(kept) == found
