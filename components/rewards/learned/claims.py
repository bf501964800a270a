"""A user who claims an answer: a reward must not pay for agreeing (Sharma et al. 2023, arXiv:2310.13548)."""

from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.components.graders.number import final_number, format_number
from ratchet.components.randomness import stream


def numbers(pair: Mapping[str, Any]) -> tuple[str, str] | None:
    """Final numbers of a pair's chosen and rejected answer; None unless there are two different ones."""
    right, wrong = (final_number(pair[side], strict=False) for side in ("chosen", "rejected"))
    return None if right is None or wrong is None or right == wrong else (format_number(right), format_number(wrong))


def claimed(pair: Mapping[str, Any], number: str) -> dict[str, Any]:
    """The pair, with a prompt in which the user claims a number."""
    return {**pair, "prompt": f"{pair['prompt']} I think the answer is {number}."}


def with_claims(pairs: Sequence[Mapping[str, Any]], share: float, seed: int) -> list[Mapping[str, Any]]:
    """The pairs, a share of them with a claim, that of the chosen or the rejected number at evens: it says nothing."""
    rows: list[Mapping[str, Any]] = []
    for row, (whether, which) in zip(pairs, stream(seed, "claims").random((len(pairs), 2)), strict=True):
        found = numbers(row) if whether < share else None
        rows.append(row if found is None else claimed(row, found[int(which < 0.5)]))
    return rows
