"""``task.response``: what a completion must be."""

from collections.abc import Mapping
from typing import Any

from ratchet.components.recipe.base import Section

READING = ("file", "http", "openai")  # kinds of graders that are given a ``sample``; also the keys of their short forms


class Response(Section):
    """``json_schema``: a JSON Schema (draft 2020-12), or the path of its JSON file from the project's root."""

    json_schema: str | dict[str, Any]


def with_response(values: Any) -> Any:
    """A recipe's values, in which ``task.response`` stands for itself, and each grader that reads a sample has its schema.

    It is kept apart from the task, on which the version of the data depends.
    """
    task = values.get("task") if isinstance(values, Mapping) else None
    if not isinstance(task, Mapping) or "response" not in task:
        return values
    asked = {name: value for name, value in task.items() if name != "response"}
    others = {name: value for name, value in values.items() if name != "task"} | ({"task": asked} if asked else {})
    response = task["response"]
    schema = response.get("json_schema") if isinstance(response, Mapping) else None
    graders, reward = others.get("graders"), others.get("reward")
    if isinstance(graders, Mapping):
        others["graders"] = {name: _told(grader, schema) for name, grader in graders.items()}
    if isinstance(reward, Mapping):
        others["reward"] = _reward(reward, schema)
    return {**others, "response": response}


def _reward(reward: Mapping[str, Any], schema: Any) -> dict[str, Any]:
    told = dict(reward)
    if "verifier" in told:
        told["verifier"] = _told(told["verifier"], schema)
    if isinstance(told.get("terms"), list):
        told["terms"] = [_reward(term, schema) if isinstance(term, Mapping) else term for term in told["terms"]]
    return told


def _told(grader: Any, schema: Any) -> Any:
    if not isinstance(grader, Mapping):
        return grader
    inner = grader.get("graders")
    if grader.get("type") == "multi" and isinstance(inner, Mapping):
        return {**grader, "graders": {name: _told(one, schema) for name, one in inner.items()}}
    reads = grader["type"] in READING if "type" in grader else any(kind in grader for kind in READING)
    return {"response": schema, **grader} if reads else grader
