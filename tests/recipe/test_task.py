"""The section ``task``."""

from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Recipe, build_recipe

ROWS = {"source": "rows.jsonl"}
USER = {"role": "user", "content": "{{item.text}}"}


def recipe(task: Any, data: Any = ROWS) -> Recipe:
    return build_recipe({"name": "m", "data": data, "task": task, "gate": {"rules": {}}}, "test")


def test_a_task_stands_beside_the_data_and_is_kept_with_them() -> None:
    found = recipe({"prompt": "Sort: {{item.text}}"}).data.task
    assert found is not None
    assert [(turn.role, turn.content) for turn in found.turns] == [("user", "Sort: {{item.text}}")]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({}, "task: a task has either a prompt or messages"),
        ({"prompt": "{{item.x}}", "messages": [USER]}, "task: a task has either a prompt or messages"),
        ({"messages": [USER, {"role": "assistant", "content": "Yes."}]}, "last message is the assistant"),
        ({"prompt": "Sort."}, r"no \{\{item\.x\}\}"),
        ({"prompt": "{{item.x | upper}}"}, "not a path"),
        ({"prompt": "{% for x in item %}{{item.x}}{{"}, "without their partner"),
        ({"prompt": "{{sample.output_text}}"}, "not known when a prompt is made"),
        ({"messages": [{"role": "developer", "content": "x"}]}, r"task\.messages\.0\.role"),
    ],
)
def test_faults_a_task_that_cannot_be_asked_is_refused_by_its_key(task: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(task)


def test_generated_problems_have_no_fields_to_ask_with() -> None:
    with pytest.raises(RecipeError, match="generated problems have none"):
        recipe({"prompt": "{{item.x}}"}, {})


def test_a_task_given_twice_is_refused() -> None:
    with pytest.raises(RecipeError, match="given twice"):
        recipe({"prompt": "{{item.x}}"}, {**ROWS, "task": {"prompt": "{{item.y}}"}})
