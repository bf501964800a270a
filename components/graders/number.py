"""The numeric verifier: is the final number of a completion the reference's?"""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from ratchet.components.graders.numerals import last, leading, whole
from ratchet.components.rewards.protocol import Score

# A line ends at any line break, and where a chat template's own tokens were left in a text.
_END = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]|<\|[^|<>\s]{1,40}\|>|</?s>|<(?:eos|pad|end_of_turn)>")
_HASHES = r"(?<!#)####(?!#)"
_STRICT = re.compile(_HASHES)
_MARKER = re.compile(
    rf"(?P<line>{_HASHES}|\bA:|\banswer\s+is\b:?)|(?P<box>\\(?:boxed|fbox)(?![a-z])\s*\{{?)|(?P<tag><answer>)", re.IGNORECASE
)


def final_number(text: str, strict: bool = True, last_number: bool = True) -> Fraction | None:
    r"""The final answer of a text: what its last marker says, and None if that is not one number as a whole.

    Args:
        strict: only ``#### N`` alone on its line counts; otherwise also ``A: N``, ``\boxed{N}``, ``<answer>N</answer>`` and
            "the answer is N", with a unit after it.
        last_number: whether, where none of these stands, the last number counts; without effect if strict.
    """
    markers = list((_STRICT if strict else _MARKER).finditer(text))
    if not markers:
        return last(text) if last_number and not strict else None
    return whole(_line(text[markers[-1].end() :])) if strict else leading(_marked(text, markers[-1]))


def reference_number(answer: str) -> Fraction | None:
    """The number of a reference answer: behind its last marker, or the whole text; None unless it is one number as a whole."""
    markers = list(_MARKER.finditer(answer))
    return whole(_marked(answer, markers[-1]) if markers else answer)


def _marked(text: str, marker: re.Match[str]) -> str:
    """What a marker marks: the content of a box or a tag, else the rest of the line, or the next line that is not blank."""
    rest = text[marker.end() :]
    if marker["tag"]:
        return re.split("</answer>", rest, maxsplit=1, flags=re.IGNORECASE)[0].strip()
    if marker["box"] and marker[0].endswith("{"):
        return _in_braces(rest)
    return _line(rest.lstrip())


def _line(text: str) -> str:
    return _END.split(text, maxsplit=1)[0]


def _in_braces(text: str) -> str:
    """The text up to the brace that closes; nothing if none does."""
    depth = 1
    for brace in re.finditer(r"(?<!\\)[{}]", text):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[: brace.start()].strip()
    return ""


def is_correct(completion: str, answer: str, strict: bool = True, last_number: bool = True) -> bool:
    """Whether a completion's final number equals the reference answer's."""
    expected = reference_number(answer)
    return expected is not None and final_number(completion, strict, last_number) == expected


def verify(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Score]:
    """Reward 1 for a right final number in the strict form, 0 for a wrong or missing one, None against no number."""
    return [judge(completion, row.get("answer")) for completion, row in zip(completions, rows, strict=True)]


def judge(completion: str, answer: object, strict: bool = True, last_number: bool = True) -> Score:
    """The verdict on one completion; None where the reference is not one number."""
    if answer is None or reference_number(str(answer)) is None:
        return Score(None, {})
    right = float(is_correct(completion, str(answer), strict, last_number))
    return Score(right, {"verifier": right})
