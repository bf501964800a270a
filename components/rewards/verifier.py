"""The numeric verifier: is the final number of a completion the reference's?"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from components.rewards.protocol import Score

NUMBER = r"-?\$?\d[\d,]*(?:\.\d+)?"
STRICT = re.compile(rf"####\s*({NUMBER})\s*(?:\n|$)")
MARKED = re.compile(rf"(?:####|\bA:|\\boxed\{{|the answer is)\s*({NUMBER})", re.IGNORECASE)
ANY = re.compile(NUMBER)


def parse_number(text: str) -> Decimal | None:
    """A number written by a person: ``1,000`` and ``1000.00`` are the same; None where it is none."""
    try:
        number = Decimal(text.replace(",", "").replace("$", ""))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def final_number(text: str, strict: bool = True, last_number: bool = True) -> Decimal | None:
    """The final answer of a text.

    Args:
        strict: only ``#### N`` counts (the last one); otherwise also ``A: N``, ``\\boxed{N}``, "the answer is N".
        last_number: whether, where none of these stands, the last number counts; without effect if strict.
    """
    found = STRICT.findall(text) if strict else MARKED.findall(text)
    if not found and last_number and not strict:
        found = ANY.findall(text)
    return parse_number(found[-1]) if found else None


def is_correct(completion: str, answer: str, strict: bool = True, last_number: bool = True) -> bool:
    """Whether a completion's final number equals the reference answer's."""
    expected = final_number(answer, strict=False)
    return expected is not None and final_number(completion, strict, last_number) == expected


def verify(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Score]:
    """Reward 1 for a right final number in the strict form, 0 for a wrong or missing one."""
    scores = []
    for completion, row in zip(completions, rows, strict=True):
        right = float(is_correct(completion, str(row["answer"])))
        scores.append(Score(right, {"verifier": right}))
    return scores
