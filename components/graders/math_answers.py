"""Mathematical answers: equivalent to the reference's by math-verify. Runs in the worker's process, which can be ended.

math-verify's own time limits use SIGALRM, which fails outside of the main thread, and which callers have taken for a wrong
answer. They are off: the worker's limit ends a comparison that does not. A reference that is not mathematics judges nothing.
"""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from ratchet.components.graders.spaces import reference_of

_DELIMITED = re.compile(r"\$|\\\(|\\\[|\\boxed|\\begin")
_NAMED = re.compile(r"\\[A-Za-z]+|sin|cos|tan|log|ln|exp|sqrt|pi")
_WORD = re.compile(r"[A-Za-z]{2}")


def serve(function: Callable[[str, Any], Any], options: Mapping[str, Any]) -> Any:
    """The adapter of ``worker``: one completion at a time."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns at each call that its time limits are off
    expected_of = reference_of(options["reference"])

    def answer(calls: list[dict[str, Any]]) -> list[Any]:
        return [function(call["completion"], expected_of(call["row"])) for call in calls]

    return answer, False, {"protocol": "math"}


def verified(completion: str, reference: Any) -> dict[str, Any]:
    """Whether the completion's answer is equivalent to the reference's; the order of the two is not symmetric."""
    import math_verify

    if not isinstance(reference, str | int | float) or isinstance(reference, bool):
        return {"score": None, "reason": "the reference is missing, or is not a text"}
    expected = _parsed(str(reference)) if _is_mathematics(str(reference)) else []
    if not expected:
        return {"score": None, "reason": f"the reference {reference!r:.80} is not a mathematical expression"}
    found = _parsed(completion)
    right = bool(found) and bool(math_verify.verify(expected, found, timeout_seconds=None, raise_on_error=True))
    return {"score": float(right), "passed": right, "answer": str(found[-1]) if found else None}


def _is_mathematics(text: str) -> bool:
    """Whether a text has delimiters of LaTeX, or is one line of mathematics alone, without words."""
    alone = bool(text.strip()) and "\n" not in text.strip() and not _WORD.search(_NAMED.sub("", text))
    return _DELIMITED.search(text) is not None or alone


def _parsed(text: str) -> list[Any]:
    """The expressions of a text. Mathematics alone is delimited first: else of x^2 + 2x + 1 only the 1 is found."""
    import math_verify

    alone = _is_mathematics(text) and not _DELIMITED.search(text)
    found: list[Any] = math_verify.parse(f"${text.strip()}$" if alone else text, parsing_timeout=None)
    return found
