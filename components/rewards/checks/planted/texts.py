"""Planted wrong answers to any task: a gold that takes one of them for right is broken."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ratchet.components.graders.number import format_number, reference_number


class Case(NamedTuple):
    """A row with a reference, as the kind of its grader reads it."""

    row: Mapping[str, Any]
    reference: str  # a completion that is right
    form: str  # what two references must differ in to be different answers

    @property
    def prompt(self) -> str:
        return str(self.row["prompt"])


Plant = Callable[[Sequence[Case]], list[str | None]]  # a wrong answer per case; None where there is none

# Texts that some judges take for good answers whatever the question (arXiv:2507.08794), and what gaming policies write.
MASTER_STRINGS = (
    ":", ".", "Solution", "Thought process:", "Let's solve this step by step.", "The answer is", "I don't know.", "None",
    "null", "{}", "[]", "SELECT 1", "#### ", "correct",
)  # fmt: skip

_WORD = re.compile(r"(\\[A-Za-z]+)|([^\W_])")


def each(change: Callable[[str], str | None]) -> Plant:
    """A plant that makes its wrong answers from the references, one by one."""
    return lambda cases: [change(case.reference) for case in cases]


def folded(text: str) -> str:
    """A text without what rarely makes another answer: case, and runs of white space."""
    return " ".join(text.split()).casefold()


def says(text: str, form: str) -> bool:
    """Whether a text has a form as words of its own: ``SELECT 1`` says 1, and ``Solution`` does not say on."""
    return re.search(rf"(?<!\w){re.escape(form)}(?!\w)", folded(text)) is not None


def form_of(reference: str) -> str:
    """The form of references whose kind has none of its own: of one that is or ends in a number that number, else its text."""
    number = reference_number(reference)
    return folded(reference) if number is None else format_number(number)


def empty(cases: Sequence[Case]) -> list[str | None]:
    """The empty text."""
    return [""] * len(cases)


def echo(cases: Sequence[Case]) -> list[str | None]:
    """The prompt, where the reference is not part of it."""
    return [None if case.form in folded(case.prompt) else case.prompt for case in cases]


def swapped(cases: Sequence[Case]) -> list[str | None]:
    """The reference of the next row that has another one."""
    return [_next(cases, place) for place in range(len(cases))]


def between(cases: Sequence[Case]) -> list[str | None]:
    """The reference between those of two other rows: right to a grader that looks for it anywhere, not for the answer."""
    answers: list[str | None] = []
    for place, case in enumerate(cases):
        before, after = _next(cases, place), _next(cases, place, -1)
        answers.append(f"{before}\n{case.reference}\n{after}" if before and after else None)
    return answers


def _next(cases: Sequence[Case], place: int, way: int = 1) -> str | None:
    others = (cases[(place + way * step) % len(cases)] for step in range(1, len(cases)))
    return next((other.reference for other in others if other.form != cases[place].form), None)


def majority(cases: Sequence[Case]) -> list[str | None]:
    """The commonest reference, to the rows with another one."""
    if not cases:
        return []
    common = Counter(case.form for case in cases).most_common(1)[0][0]
    text = next(case.reference for case in cases if case.form == common)
    return [None if case.form == common else text for case in cases]


def larger(reference: str) -> str | None:
    """The strict form of a number that is one larger; None of a reference that is no number."""
    number = reference_number(reference)
    return None if number is None else f"#### {format_number(number + 1)}"


def one_off(text: str) -> str:
    """The text with its last letter or digit changed."""
    places = [place for place, character in enumerate(text) if character.isalnum()]
    if not places:
        return f"{text}x"
    last = places[-1]
    return text[:last] + _other_character(text[last]) + text[last + 1 :]


def _other_character(character: str) -> str:
    if "0" <= character <= "9":
        return str((int(character) + 1) % 10)
    return "x" if character.casefold() != "x" else "y"


def half(text: str) -> str | None:
    """The first half of a text's words; None of a single one."""
    words = text.split()
    return " ".join(words[: len(words) // 2]) or None


def scrambled(reference: str) -> str | None:
    """Every letter and digit the next one, in JSON only those of values: wrong whatever part of a reference counts.

    Graders that we cannot see into may rightly ignore a part, so that a smaller change need not be wrong.
    """
    try:
        value = json.loads(reference)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict | list):
        return json.dumps(_scrambled_value(value), ensure_ascii=False) if value else None
    text = _WORD.sub(lambda found: found[1] or _following(found[2]), reference)
    return None if text == reference else text


def _scrambled_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _scrambled_value(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_scrambled_value(member) for member in value]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if abs(value) < 1e6 else value * 2
    return 1 if value is None else _WORD.sub(lambda found: found[1] or _following(found[2]), value)


def _following(character: str) -> str:
    """The next letter of the same alphabet and case, or digit; the last one's is the first. Others are an x, or a y."""
    for first, last in (("a", "z"), ("A", "Z"), ("0", "9")):
        if first <= character <= last:
            return first if character == last else chr(ord(character) + 1)
    return _other_character(character)
