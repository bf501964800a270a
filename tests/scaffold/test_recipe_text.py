"""Values as YAML in lines, which a recipe's reader reads back as they were."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.components.recipe import parse_yaml
from ratchet.components.scaffold.recipe_text import inline, recipe_text

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    TEXTS | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
)


@given(VALUES)
@settings(deadline=None, max_examples=60)
def test_any_value_is_read_back_from_one_line(value: Any) -> None:
    line = inline(value)
    assert "\n" not in line
    assert parse_yaml(f"key: {line}  # comment", "test") == {"key": value}


@pytest.mark.parametrize("text", ["1e5", "on", "null", "#4", "a: b", "- x", "{{item.x}}", "2026-01-01", "~", "", " x", "a\nb"])
def test_a_text_stays_text(text: str) -> None:
    assert parse_yaml(f"[{inline([text])[1:-1]}, {inline(text)}]", "test") == [text, text]


def test_comments_and_remarks_stand_beside_their_keys() -> None:
    values = {"name": "x", "policy": {"max_new_tokens": 8}, "gold": {"grader": "right"}}
    text = recipe_text(values, "A task.", {"policy.max_new_tokens": "why"}, {"policy": "model: hub/id"})
    lines = text.splitlines()
    assert lines[1:3] == ["# A task.", "name: x"]
    assert lines[4:7] == ["policy:", "  # model: hub/id", f"{'  max_new_tokens: 8':<48}  # why"]
    assert lines[-1] == "gold: {grader: right}"
