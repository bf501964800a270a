"""``task.response``: what a completion must be; and what graders know of the task."""

from collections.abc import Mapping
from typing import Any

from ratchet.components.recipe.base import Section

READING = ("file", "http", "openai")  # kinds of graders that are given a ``sample``; also the keys of their short forms

Known = Mapping[str, Mapping[str, Any]]  # by kind of grader, settings that it has unless it has others


class Response(Section):
    """``json_schema``: a JSON Schema (draft 2020-12), or the path of its JSON file from the project's root."""

    json_schema: str | dict[str, Any]  # the schema, or a file that holds it


def with_response(values: Any) -> Any:
    """A recipe's values, in which ``task.response`` stands for itself, and each grader that reads a sample has its schema.

    It is kept apart from the task, on which the version of the data depends. Functions also know that a task of messages is
    conversational, as TRL calls it.
    """
    task = values.get("task") if isinstance(values, Mapping) else None
    if not isinstance(task, Mapping):
        return values
    asked = {name: value for name, value in task.items() if name != "response"}
    others = {name: value for name, value in values.items() if name != "task"}
    others |= {"task": asked} if asked or "response" not in task else {}
    others |= {"response": task["response"]} if "response" in task else {}
    return _told(others, _known(task))


def _known(task: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    response = task.get("response")
    known: dict[str, dict[str, Any]] = {kind: {} for kind in READING}
    if isinstance(response, Mapping):
        known = {kind: {"response": response.get("json_schema")} for kind in READING}
    if task.get("messages"):
        known["file"]["form"] = "messages"
    return known


def _told(values: dict[str, Any], known: Known) -> dict[str, Any]:
    graders, reward = values.get("graders"), values.get("reward")
    told = dict(values)
    if isinstance(graders, Mapping):
        told["graders"] = {name: _grader(grader, known) for name, grader in graders.items()}
    if isinstance(reward, Mapping):
        told["reward"] = _reward(reward, known)
    return told


def _reward(reward: Mapping[str, Any], known: Known) -> dict[str, Any]:
    told = _paid(reward, known)
    terms = told.get("terms")
    if isinstance(terms, list):
        told["terms"] = [_paid(term, known) if isinstance(term, Mapping) else term for term in terms]
    schema = known["file"].get("response")
    return told if schema is None else {"response": schema, **told}


def _paid(part: Mapping[str, Any], known: Known) -> dict[str, Any]:
    return {**part, "verifier": _grader(part["verifier"], known)} if "verifier" in part else dict(part)


def _grader(grader: Any, known: Known) -> Any:
    if not isinstance(grader, Mapping):
        return grader
    inner = grader.get("graders")
    if grader.get("type") == "multi" and isinstance(inner, Mapping):
        return {**grader, "graders": {name: _grader(one, known) for name, one in inner.items()}}
    kind = grader.get("type", next((kind for kind in READING if kind in grader), None))
    return {**known[kind], **grader} if kind in known else grader
