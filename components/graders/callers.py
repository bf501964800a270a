"""How a user's function is called, by protocol, and what the values it gives mean. Runs in the worker's process only.

A missing value (None; NaN where the protocol means by it that nothing can be said) is a grade without a score, never a zero.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ratchet.components.errors import RecipeError
from ratchet.components.graders.response import sample_of
from ratchet.components.graders.spaces import item_of, reference_of
from ratchet.components.graders.worker.child import UnfitError, awaited

Call = Mapping[str, Any]  # prompt, completion, row; sample, where the recipe has a schema of completions
Options = Mapping[str, Any]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Caller:
    """One protocol. ``batch``: the function takes all completions of a batch at once."""

    batch = False

    def check(self, names: frozenset[str], required: frozenset[str]) -> None:
        """Refuse a function that needs what a grader cannot give it."""

    def arguments(self, names: frozenset[str], takes_any: bool, calls: Sequence[Call], options: Options) -> Arguments:
        raise NotImplementedError

    def answer(
        self, function: Callable[..., Any], names: frozenset[str], takes_any: bool, calls: Sequence[Call], options: Options
    ) -> list[Any]:
        """One value per call."""
        given, named = self.arguments(names, takes_any, calls, options)
        return self.read(awaited(function(*given, **named)), calls)

    def read(self, result: Any, calls: Sequence[Call]) -> list[Any]:
        return [value_of(result)]


class OpenAI(Caller):
    """``grade(sample, item)`` of the python graders of OpenAI and Azure."""

    def arguments(self, names: frozenset[str], takes_any: bool, calls: Sequence[Call], options: Options) -> Arguments:
        (call,) = calls
        return (call.get("sample") or sample_of(call["completion"]), item_of(call["row"])), {}


class Trl(Caller):
    """A reward function of TRL's GRPO: lists by name, of prompts, completions and every column; None or NaN leaves one out."""

    batch = True

    def check(self, names: frozenset[str], required: frozenset[str]) -> None:
        for name in ("completion_ids", "environments"):
            if name in required:
                raise RecipeError(f"the function needs {name}, and a grader gets texts. Give the parameter a default.")

    def arguments(self, names: frozenset[str], takes_any: bool, calls: Sequence[Call], options: Options) -> Arguments:
        extras: dict[str, list[Any]] = {}
        items = [item_of(call["row"]) for call in calls]
        keys = dict.fromkeys(key for item in items for key in item if key not in ("prompt", "completion", "completion_ids"))
        columns = {name: [item.get(name) for item in items] for name in keys}
        everything = {
            **columns,
            "prompts": [_prompt(call, options) for call in calls],
            "completions": [_completion(call, options) for call in calls],
            "trainer_state": SimpleNamespace(global_step=0),
            "log_extra": extras.__setitem__,
            "log_metric": lambda name, value: None,
        }
        return (), everything if takes_any else {name: value for name, value in everything.items() if name in names}

    def answer(
        self, function: Callable[..., Any], names: frozenset[str], takes_any: bool, calls: Sequence[Call], options: Options
    ) -> list[Any]:
        given, named = self.arguments(names, takes_any, calls, options)
        result = awaited(function(*given, **named))
        extras = named["log_extra"].__self__ if "log_extra" in named else {}
        return self.with_parts(self.read(result, calls), extras)

    def read(self, result: Any, calls: Sequence[Call]) -> list[Any]:
        values = result.tolist() if hasattr(result, "tolist") else result
        if not isinstance(values, list | tuple):
            return values  # type: ignore[no-any-return]  # what is not a list is refused with its type
        return [None if is_nan(value) else value for value in values]

    @staticmethod
    def with_parts(values: list[Any], extras: Mapping[str, Sequence[Any]]) -> list[Any]:
        """The values with what was logged per completion, as far as it is numbers."""
        logged = {
            name: column for name, column in extras.items() if len(column) == len(values) and all(map(_is_figure, column))
        }
        if not logged or not isinstance(values, list):
            return values
        return [
            {"score": value, "parts": {name: column[number] for name, column in logged.items()}}
            for number, value in enumerate(values)
        ]


class Target(Caller):
    """``f(prediction, target)``: the completion and the reference, as Together calls it."""

    def arguments(self, names: frozenset[str], takes_any: bool, calls: Sequence[Call], options: Options) -> Arguments:
        (call,) = calls
        return (call["completion"], reference_for(call, options)), {}


class Ratchet(Caller):
    """``f(prompts, completions, rows)``: Ratchet's own."""

    batch = True

    def arguments(self, names: frozenset[str], takes_any: bool, calls: Sequence[Call], options: Options) -> Arguments:
        return tuple([call[name] for call in calls] for name in ("prompt", "completion", "row")), {}

    def read(self, result: Any, calls: Sequence[Call]) -> list[Any]:
        return result  # type: ignore[no-any-return]  # counted and read by the worker


class Lambda(Caller):
    """``lambda_handler(event, context)`` of Amazon Bedrock and SageMaker: one element in, one out, with its id."""

    def arguments(self, names: frozenset[str], takes_any: bool, calls: Sequence[Call], options: Options) -> Arguments:
        (call,) = calls
        event = {
            "id": str(call["row"].get("id", "0")),
            "messages": [*messages_of(call), {"role": "assistant", "content": call["completion"]}],
            "metadata": item_of(call["row"]),
            "reference_answer": reference_for(call, options),
        }
        context = SimpleNamespace(
            function_name="ratchet", aws_request_id="ratchet", get_remaining_time_in_millis=lambda: 60_000
        )
        return ([event], context), {}

    def read(self, result: Any, calls: Sequence[Call]) -> list[Any]:
        expected = str(calls[0]["row"].get("id", "0"))
        found = [one for one in result if isinstance(one, Mapping)] if isinstance(result, list) else []
        if [str(one.get("id")) for one in found] != [expected]:
            raise UnfitError(f"it returned {result!r:.200} for the one element {expected!r}. Return one with the same id")
        metrics = found[0].get("metrics_list") or []
        parts = {str(metric["name"]): metric["value"] for metric in metrics}
        return [{"score": found[0].get("aggregate_reward_score"), "parts": parts}]


class Names(Caller):
    """``f(prompt, completion, **columns)``: one completion, and the row's columns by name (Predibase, verifiers v0)."""

    def arguments(self, names: frozenset[str], takes_any: bool, calls: Sequence[Call], options: Options) -> Arguments:
        (call,) = calls
        item = item_of(call["row"])
        everything = {"example": item, **item, "prompt": call["prompt"], "completion": call["completion"]}
        return (), everything if takes_any else {name: value for name, value in everything.items() if name in names}


def value_of(result: Any) -> Any:
    """A value of one completion, with the metrics of a mapping as parts; ``is_score_valid`` False means that there is none."""
    if not isinstance(result, Mapping) or "parts" in result or not {"score", "total"} & result.keys():
        return result
    figures = {str(name): value for name, value in (result.get("metrics") or {}).items() if _is_figure(value)}
    score = None if result.get("is_score_valid") is False else result.get("score", result.get("total"))
    return {**result, "score": score, "parts": figures}


def shown(arguments: Arguments) -> dict[str, Any]:
    """Arguments as JSON, for people."""
    given, named = arguments
    return {"positional": [_plain(value) for value in given], "named": {name: _plain(value) for name, value in named.items()}}


def _plain(value: Any) -> Any:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return f"<{type(value).__name__}>"
    return value


def reference_for(call: Call, options: Options) -> Any:
    return reference_of(str(options.get("reference", "{{item.answer}}")))(call["row"])


def messages_of(call: Call) -> list[Any]:
    """What was asked, as messages {role, content}."""
    messages = call["row"].get("messages")
    return messages if isinstance(messages, list) else [{"role": "user", "content": call["prompt"]}]


def _conversational(call: Call, options: Options) -> bool:
    """As in TRL, all rows of a dataset are conversations or none is: a table that has some has the column in every row."""
    form = options.get("form", "auto")
    return form == "messages" or (form == "auto" and "messages" in call["row"])


def _prompt(call: Call, options: Options) -> Any:
    return messages_of(call) if _conversational(call, options) else call["prompt"]


def _completion(call: Call, options: Options) -> Any:
    text = call["completion"]
    return [{"role": "assistant", "content": text}] if _conversational(call, options) else text


def is_nan(value: Any) -> bool:
    try:
        return math.isnan(value)
    except (TypeError, OverflowError, ValueError):
        return False


def _is_figure(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
