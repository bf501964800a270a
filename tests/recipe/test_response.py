"""``task.response``: kept apart from the task, and told to every grader that reads a sample."""

from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Multi, Recipe, build_recipe

SCHEMA = {"type": "object"}
OWN = {"type": "array"}


def recipe(task: Any, **more: Any) -> Recipe:
    return build_recipe({"name": "m", "data": {"source": "r.jsonl"}, "task": task, "gate": {"rules": {}}, **more}, "test")


def test_it_is_no_part_of_the_data_whose_version_it_does_not_change() -> None:
    asked = {"prompt": "Sort: {{item.text}}"}
    assert recipe(asked).data == recipe({**asked, "response": {"json_schema": SCHEMA}}).data
    alone = recipe({"response": {"json_schema": SCHEMA}})
    assert alone.data.task is None
    assert alone.response is not None
    assert alone.response.json_schema == SCHEMA


def test_graders_that_read_a_sample_have_it_unless_they_have_their_own() -> None:
    graders = {
        "mine": {"file": "a.py:f"},
        "own": {"http": "https://x", "response": OWN},
        "right": {"type": "exact"},
        "both": {"type": "multi", "formula": "a", "graders": {"a": {"openai": "g.json"}}},
    }
    reward = {"kind": "verifier", "verifier": {"file": "a.py:f"}}
    found = recipe({"response": {"json_schema": SCHEMA}}, graders=graders, gold={"grader": "mine"}, reward=reward)
    assert found.graders["mine"].response == SCHEMA
    assert found.graders["own"].response == OWN
    assert isinstance(found.graders["both"], Multi)
    assert found.graders["both"].graders["a"].response == SCHEMA
    assert found.paid_by_gold
    assert build_recipe(found.model_dump(mode="json"), "again") == found


@pytest.mark.parametrize(
    "reward",
    [
        {"kind": "custom", "function": "a:f"},
        {"kind": "sum", "terms": [{"name": "t", "weight": 1, "of": "custom", "function": "a:f"}]},
    ],
)
def test_functions_of_the_reward_have_it_unless_the_reward_has_its_own(reward: dict[str, Any]) -> None:
    more = {"graders": {"right": {"type": "exact"}}, "gold": {"grader": "right"}}
    assert recipe({"response": {"json_schema": SCHEMA}}, reward=reward, **more).reward.response == SCHEMA
    assert recipe({"response": {"json_schema": SCHEMA}}, reward={**reward, "response": OWN}, **more).reward.response == OWN
    assert recipe({"prompt": "Sort: {{item.text}}"}, reward=reward, **more).reward.response is None


def test_a_task_of_messages_is_conversational_to_functions_unless_they_say_otherwise() -> None:
    graders = {"mine": {"file": "a.py:f"}, "own": {"file": "a.py:f", "form": "text"}, "other": {"http": "https://x"}}
    reward = {"kind": "verifier", "verifier": {"type": "file", "file": "a.py:f"}}
    talk = {"messages": [{"role": "user", "content": "{{item.text}}"}]}
    found = recipe(talk, graders=graders, gold={"grader": "mine"}, reward=reward)
    assert [getattr(one, "form", None) for one in (*found.graders.values(), found.reward.verifier)] == [
        *("messages", "text", None, "messages")
    ]
    asked = recipe({"prompt": "Sort: {{item.text}}"}, graders=graders, gold={"grader": "mine"}, reward=reward)
    assert asked.graders["mine"].form == "auto"


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ({}, r"task\.response\.json_schema"),
        ({"json_schema": 3}, r"task\.response\.json_schema"),
        ({"json_schema": SCHEMA, "regex": "x"}, r"task\.response\.regex: unknown key"),
        ("schema.json", r"task\.response"),
    ],
)
def test_faults_a_response_is_refused_by_its_key(response: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe({"response": response}, graders={"mine": {"file": "a.py:f"}}, gold={"grader": "mine"})
