"""Which protocol a user's function is written for, found from its signature alone; the function is not called to find out.

Runs in the worker's process only: reading a signature means loading the user's module. How each protocol is called, and what
its values mean, is in ``callers``.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ratchet.components.errors import RecipeError, RewardError
from ratchet.components.graders import callers
from ratchet.components.graders.callers import Call, Caller
from ratchet.components.graders.inspect_ai import Inspect

Function = Callable[..., Any]
Served = tuple[Callable[[list[Call]], list[Any]], bool, dict[str, Any]]


@dataclass(frozen=True)
class Shape:
    """A function's parameters as far as protocols differ by them."""

    first: tuple[str, ...]  # in order, those that can be passed by position
    names: frozenset[str]  # all that can be passed by name
    required: frozenset[str]
    open: bool  # takes any name

    @classmethod
    def of(cls, function: Function) -> "Shape":
        parameters = signature_of(function).parameters.values()
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return cls(
            tuple(one.name for one in parameters if one.kind in positional),
            frozenset(one.name for one in parameters if one.kind in named),
            frozenset(one.name for one in parameters if one.default is one.empty and one.kind in (*positional, *named)),
            any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters),
        )

    def takes(self, *names: str) -> bool:
        """Whether it is a function of exactly these, in this order; what else it has is optional."""
        return self.first[: len(names)] == names and self.required <= set(names)


PROTOCOLS: dict[str, tuple[Callable[[Shape], bool], Caller, str]] = {
    "openai": (lambda shape: shape.takes("sample", "item"), callers.OpenAI(), "grade(sample, item)"),
    "trl": (
        lambda shape: "completions" in shape.names and not shape.takes("prompts", "completions", "rows"),
        callers.Trl(),
        "f(prompts, completions, **columns)",
    ),
    "target": (lambda shape: shape.takes("prediction", "target"), callers.Target(), "f(prediction, target)"),
    "ratchet": (
        lambda shape: shape.takes("prompts", "completions", "rows"),
        callers.Ratchet(),
        "f(prompts, completions, rows)",
    ),
    "lambda": (lambda shape: shape.takes("event", "context"), callers.Lambda(), "lambda_handler(event, context)"),
    "names": (lambda shape: "completion" in shape.names, callers.Names(), "f(prompt, completion, **columns)"),
    "inspect": (lambda shape: shape.takes("state", "target"), Inspect(), "an inspect_ai scorer"),
}


def serve(function: Function, options: Mapping[str, Any]) -> Served:
    """The adapter of ``worker``: from a function to what answers calls, and facts about it.

    Args:
        options: ``protocol``, ``reference`` (a template), ``form`` (text, messages or auto); ``example``, a call whose
            arguments are to be shown; ``source``, Python that defines ``grade`` and is run in place of the function;
            ``positional``, whether three parameters of other names are prompts, completions and rows.

    Raises:
        RecipeError: if the signature fits none of the protocols, or several.
    """
    if "source" in options:
        function = defined(str(options["source"]))
    function = made(function)
    shape = Shape.of(function)
    others = _takes_three(function) and bool(options.get("positional")) and not fitting(shape)
    protocol = "ratchet" if others else taken(function, shape, str(options.get("protocol", "auto")))
    caller = PROTOCOLS[protocol][1]
    caller.check(shape.names, shape.required)

    def answer(calls: list[Call]) -> list[Any]:
        return caller.answer(function, shape.names, shape.open, calls, options)

    facts: dict[str, Any] = {"protocol": protocol, "signature": written(function), "batch": caller.batch}
    if "example" in options:
        facts["arguments"] = callers.shown(caller.arguments(shape.names, shape.open, [options["example"]], options))
    return answer, caller.batch, facts


def fitting(shape: Shape) -> list[str]:
    """The protocols that a signature fits."""
    return [name for name, (fits, _, _) in PROTOCOLS.items() if fits(shape)]


def _takes_three(function: Function) -> bool:
    try:
        signature_of(function).bind([], [], [])
    except TypeError:
        return False
    return True


def taken(function: Function, shape: Shape, wanted: str) -> str:
    """The protocol of a signature; the one that the recipe names must fit it.

    Raises:
        RewardError: if none fits.
        RecipeError: if several do.
    """
    found = fitting(shape)
    said = written(function)
    if wanted != "auto":
        if wanted not in found:
            raise RecipeError(f"{said} is not called as protocol: {wanted} calls, {PROTOCOLS[wanted][2]}. Correct either.")
        return wanted
    if not found:
        forms = "; ".join(f"{name}: {form}" for name, (_, _, form) in PROTOCOLS.items())
        raise RewardError(f"{said} is a function of no known protocol. Write one of {forms}.")
    if len(found) > 1:
        raise RecipeError(f"{said} is ambiguous: it fits {' and '.join(found)}. Add the key protocol: {found[0]}.")
    return found[0]


def signature_of(function: Function) -> inspect.Signature:
    """A function's signature.

    Raises:
        RewardError: if it has none, as some that are written in C.
    """
    try:
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise RewardError(f"{function!r:.80} has no signature to read. Write a function around it.") from error


def written(function: Function) -> str:
    """A function's name and signature."""
    return f"{getattr(function, '__name__', type(function).__name__)}{signature_of(function)}"


def made(function: Function) -> Function:
    """The scorer that a factory decorated with inspect_ai's ``@scorer`` makes; any other function as it is."""
    registered = getattr(function, "__registry_info__", None)
    if registered is None or getattr(registered, "type", None) != "scorer":
        return function
    if Shape.of(function).required:
        raise RecipeError(f"the scorer {written(function)} has parameters without defaults. Give them defaults.")
    scorer: Function = function()
    return scorer


def defined(source: str) -> Function:
    """The function ``grade`` of a source text.

    Raises:
        RecipeError: if the source is not Python, or defines none.
    """
    space: dict[str, Any] = {"__name__": "openai_grader"}
    try:
        exec(compile(source, "<source of the python grader>", "exec"), space)  # noqa: S102 - in the worker's process
    except SyntaxError as error:
        raise RecipeError(f"the source of the python grader is not Python: {error}. Correct it.") from error
    if not callable(space.get("grade")):
        raise RecipeError("the source of the python grader defines no function grade. Write def grade(sample, item).")
    function: Function = space["grade"]
    return function


def inline() -> None:
    """What a worker loads for a grader whose source is in its options."""
