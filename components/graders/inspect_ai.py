"""A scorer of inspect_ai as a grader. Runs in the worker's process only."""

from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.components.graders.callers import Arguments, Call, Caller, Options, is_nan, messages_of, reference_for
from ratchet.components.graders.spaces import item_of

LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}


class Inspect(Caller):
    """A scorer of inspect_ai: ``async (state, target) -> Score``; C, P and I are 1, 0.5 and 0, and NaN is unscored."""

    def arguments(self, names: frozenset[str], takes_any: bool, calls: Sequence[Call], options: Options) -> Arguments:
        from inspect_ai.model import ModelName, ModelOutput
        from inspect_ai.scorer import Target as InspectTarget
        from inspect_ai.solver import TaskState

        (call,) = calls
        reference = reference_for(call, options)
        target = InspectTarget(reference if isinstance(reference, list) else str("" if reference is None else reference))
        messages = _messages([*messages_of(call), {"role": "assistant", "content": call["completion"]}])
        model = ModelName("mockllm/model")
        output = ModelOutput.from_content(model=str(model), content=call["completion"])
        identity = str(call["row"].get("id", "0"))
        item = item_of(call["row"])
        state = TaskState(model, identity, 0, call["prompt"], messages, target, output=output, metadata=item)  # type: ignore[arg-type, unused-ignore]
        return (state, target), {}

    def read(self, result: Any, calls: Sequence[Call]) -> list[Any]:
        if result is None:
            return [None]
        value, metadata = result.value, {"reason": result.explanation or "", "answer": result.answer}
        if isinstance(value, str):
            return [{"score": LETTERS.get(value, value), "passed": value == "C", **metadata}]
        if isinstance(value, bool):
            return [{"score": value, "passed": value, **metadata}]
        return [{"score": None if is_nan(value) else value, **metadata}]


def _messages(turns: Sequence[Mapping[str, str]]) -> list[Any]:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageTool, ChatMessageUser

    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant, "tool": ChatMessageTool}
    return [kinds[turn["role"]](content=turn["content"]) for turn in turns]
