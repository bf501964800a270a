"""Classification: the completion names the label of the reference, out of a fixed set, and says nothing else.

Which of two labels a text means is never guessed: a completion that names two, or one among other words, names none.
Measures of all items together are made from the grades (components/evaluation/labels.py).
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ratchet.components.graders.json_text import parse_json
from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.spaces import reference_of

_AROUND = " \t\r\n*_`\"'."  # white space, markdown, quotes, a full stop
_LEAD = re.compile(r"(?:label|answer|category|class)\s*[:=]\s*", re.IGNORECASE)

Reader = Callable[[str], str | None]


def reader(labels: Sequence[str], take: str = "whole", field: str | None = None, ignore_case: bool = True) -> Reader:
    """A function from a completion to the label that it names, or None.

    Args:
        take: ``whole`` completion or its ``last_line``, after ``label:``, ``answer:`` and the like.
        field: the completion is a JSON object with the label in this key.
    """
    known = {_form(label, ignore_case): label for label in labels}

    def read(completion: str) -> str | None:
        text = _member(completion, field) if field else _taken(completion, take)
        return None if text is None else known.get(_form(text, ignore_case))

    return read


def rule(
    labels: Sequence[str],
    reference: str,
    take: str = "whole",
    field: str | None = None,
    ignore_case: bool = True,
    weights: Mapping[str, float] | None = None,
) -> Callable[[str, Mapping[str, Any]], Grade]:
    """Passed if the completion names the reference's label. The score is then 1, else 0.

    With weights the score of a right answer is the label's share of the largest weight: the mean of items is then, up to a
    factor, the weighted accuracy.

    A reference outside the set judges nothing: score None, with the reason.
    """
    read, expected_of = reader(labels, take, field, ignore_case), reference_of(reference)
    known = {_form(label, ignore_case): label for label in labels}
    scale = {label: weight / max(weights.values()) for label, weight in weights.items()} if weights else {}

    def judge(completion: str, row: Mapping[str, Any]) -> Grade:
        given = expected_of(row)
        expected = known.get(_form(str(given), ignore_case))
        if expected is None:
            return Grade(None, reason=f"the reference {given!r:.60} is not one of {', '.join(labels)[:200]}")
        named = read(completion)
        right = named == expected
        reason = f"{named or 'no label'} for {expected}"
        return Grade(right * scale.get(expected, 1.0), passed=right, reason=reason, answer=named, expected=expected)

    return judge


def _form(text: str, ignore_case: bool) -> str:
    text = " ".join(unicodedata.normalize("NFC", text).strip(_AROUND).split())
    return text.casefold() if ignore_case else text


def _taken(completion: str, take: str) -> str:
    lines = [line for line in completion.splitlines() if line.strip()]
    text = lines[-1] if take == "last_line" and lines else completion
    text = text.strip(_AROUND)
    lead = _LEAD.match(text)
    return text[lead.end() :] if lead else text


def _member(completion: str, field: str) -> str | None:
    try:
        value = parse_json(completion)
    except ValueError:
        return None
    found = value.get(field) if isinstance(value, dict) else None
    return found if isinstance(found, str) else None
